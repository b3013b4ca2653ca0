"""Whether a cluster shows a symptom: pure questions over pods and nodes."""

from __future__ import annotations

from cortexops.domain.errors import NotFound
from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.objects import condition, is_ready, key_of, labels_match
from sandbox.scenarios.schema import Symptom

_STALLED = "ProgressDeadlineExceeded"


def shows(symptom: Symptom, pods: list[JSON], nodes: list[JSON], deployments: list[JSON]) -> bool:
    """Whether enough pods, the node, or the Deployment are in that state."""
    if symptom.stalled:
        named = [one for one in deployments if key_of(one) == symptom.stalled]
        return any((condition(one, "Progressing") or {}).get("reason") == _STALLED for one in named)
    if symptom.node:
        named = [node for node in nodes if node["metadata"]["name"] == symptom.node]
        return any((condition(node, "Ready") or {}).get("status") != "True" for node in named)
    matching = [
        pod
        for pod in pods
        if pod["metadata"]["namespace"] == symptom.namespace
        and labels_match(symptom.labels, pod["metadata"].get("labels"))
    ]
    return sum(_suffers(pod, symptom) for pod in matching) >= symptom.pods


def settled(workload: JSON) -> bool:
    """Whether a Deployment or StatefulSet has as many updated, ready pods as it wants, and no others."""
    status, wanted = workload.get("status") or {}, int(workload["spec"].get("replicas", 1))
    counts = [int(status.get(name) or 0) for name in ("replicas", "updatedReplicas", "readyReplicas")]
    return (
        status.get("observedGeneration") == workload["metadata"].get("generation", 1)
        and counts == [wanted] * 3
    )


def worst_pod(pods: list[JSON]) -> str:
    """The pod that an alert would name: not ready, waiting, restarted most. Raises NotFound without pods."""
    if not pods:
        raise NotFound("no such pod")

    def badness(pod: JSON) -> tuple[bool, bool, int, str]:
        statuses = (pod.get("status") or {}).get("containerStatuses") or []
        waiting = any("waiting" in (one.get("state") or {}) for one in statuses)
        restarts = sum(int(one.get("restartCount", 0)) for one in statuses)
        return (not is_ready(pod), waiting, restarts, str(pod["metadata"]["name"]))

    return str(max(pods, key=badness)["metadata"]["name"])


def _suffers(pod: JSON, symptom: Symptom) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    if sum(int(one.get("restartCount", 0)) for one in statuses) < symptom.restarts:
        return False
    if symptom.reason == "NotReady":
        return (
            bool(statuses)
            and not is_ready(pod)
            and any("running" in (one.get("state") or {}) for one in statuses)
        )
    reasons = set()
    for one in statuses:
        for field in ("state", "lastState"):
            for detail in (one.get(field) or {}).values():
                reasons.add((detail or {}).get("reason"))
    return symptom.reason in reasons
