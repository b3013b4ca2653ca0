"""Disruption budgets: how many pods may be disturbed right now."""

from __future__ import annotations

import math

from cortexops.domain.resource import JSON
from sandbox.cluster import selectors
from sandbox.cluster.kinds import BY_KIND
from sandbox.cluster.store import Store

BUDGETS = BY_KIND["PodDisruptionBudget"].key
_SCALED = ("ReplicaSet", "StatefulSet", "ReplicationController")


def covered_pods(store: Store, budget: JSON) -> list[JSON]:
    """The pods that a budget protects."""
    selector = (budget.get("spec") or {}).get("selector")
    return [
        pod
        for pod in store.objects("pods", budget["metadata"]["namespace"])
        if selectors.matches(selector, pod["metadata"].get("labels") or {})
    ]


def budgets_for(store: Store, pod: JSON) -> list[JSON]:
    """The budgets that protect a pod, by name."""
    labels = pod["metadata"].get("labels") or {}
    found = [
        budget
        for budget in store.objects(BUDGETS, pod["metadata"]["namespace"])
        if selectors.matches((budget.get("spec") or {}).get("selector"), labels)
    ]
    return sorted(found, key=lambda budget: str(budget["metadata"]["name"]))


def is_ready(pod: JSON) -> bool:
    """Whether the pod's Ready condition holds."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _expected(store: Store, pods: list[JSON]) -> int:
    """How many pods their owners want; a pod without an owner counts for itself."""
    total, seen = 0, set()
    for pod in pods:
        owner = next((o for o in pod["metadata"].get("ownerReferences") or [] if o.get("controller")), None)
        if owner is None or owner.get("kind") not in _SCALED:
            total += 1
            continue
        if owner.get("uid") in seen:
            continue
        seen.add(owner.get("uid"))
        resource = BY_KIND[owner["kind"]]
        found = store.get(resource.key, pod["metadata"]["namespace"], str(owner.get("name")))
        total += int(((found or {}).get("spec") or {}).get("replicas") or 0)
    return total


def _share(value: object, total: int) -> int:
    text = str(value)
    if text.endswith("%"):
        return math.ceil(total * float(text[:-1]) / 100)
    return int(text)


def status(store: Store, budget: JSON) -> JSON:
    """The status that the disruption controller would write now."""
    spec = budget.get("spec") or {}
    pods = covered_pods(store, budget)
    live = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    healthy = sum(1 for pod in live if is_ready(pod))
    if spec.get("maxUnavailable") is not None:
        expected = _expected(store, pods)
        desired = max(0, expected - _share(spec["maxUnavailable"], expected))
    elif isinstance(spec.get("minAvailable"), int):
        expected, desired = len(pods), int(spec["minAvailable"])
    else:
        expected = _expected(store, pods)
        desired = _share(spec.get("minAvailable") or 0, expected)
    allowed = max(0, healthy - desired)
    return {
        "observedGeneration": budget["metadata"].get("generation", 1),
        "disruptionsAllowed": allowed if expected > 0 else 0,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
    }
