"""What stands between a valid request and the store: namespaces, limit ranges, quotas, pod defaults."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from cortexops.domain.resource import JSON
from sandbox.cluster import quantity
from sandbox.cluster.errors import forbidden, not_found
from sandbox.cluster.kinds import NAMESPACE, POD, Resource
from sandbox.cluster.store import Store

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_FINISHED = ("Succeeded", "Failed")
_COUNTED = {
    "pods",
    "services",
    "configmaps",
    "secrets",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
}
_TOLERATION_SECONDS = 300


def require_namespace(store: Store, resource: Resource, namespace: str, name: str) -> None:
    """Creation needs a namespace that exists and stays. Raises `ApiError` (404, 403)."""
    found = store.get("namespaces", "", namespace)
    if found is None:
        raise not_found(NAMESPACE, namespace)
    if found["metadata"].get("deletionTimestamp"):
        message = f"unable to create new content in namespace {namespace} because it is being terminated"
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise forbidden(resource, name, message, [cause])


def pod_defaults(store: Store, pod: JSON) -> None:
    """Service account, priority, tolerations and the namespace's limit ranges, in place."""
    spec = pod.setdefault("spec", {})
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    priority = 0
    if spec.get("priorityClassName"):
        named = store.get("priorityclasses.scheduling.k8s.io", "", spec["priorityClassName"])
        priority = int((named or {}).get("value") or 0)
    spec.setdefault("priority", priority)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = list(spec.get("tolerations") or [])
    for taint in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{taint}"
        if not any(item.get("key") in (key, None) for item in tolerations):
            tolerations.append(
                {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": _TOLERATION_SECONDS,
                }
            )
    spec["tolerations"] = tolerations
    for limits in _container_limits(store, pod["metadata"]["namespace"]):
        for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
            _apply_limits(container, limits)


def _container_limits(store: Store, namespace: str) -> list[JSON]:
    return [
        item
        for limit_range in store.objects("limitranges", namespace)
        for item in (limit_range.get("spec") or {}).get("limits") or []
        if item.get("type") == "Container"
    ]


def _apply_limits(container: JSON, limits: JSON) -> None:
    resources = container.get("resources") or {}
    had_limits = set(resources.get("limits") or {})
    amounts = (limits.get("default") or {}) | (resources.get("limits") or {})
    requests = dict(resources.get("requests") or {})
    for name, value in (limits.get("defaultRequest") or {}).items():
        if name not in requests:
            requests[name] = amounts[name] if name in had_limits else value
    container["resources"] = (
        resources | ({"limits": amounts} if amounts else {}) | ({"requests": requests} if requests else {})
    )


def check_limits(store: Store, pod: JSON) -> None:
    """Refuse a pod outside its namespace's limit ranges. Raises `ApiError` (403)."""
    spec = pod.get("spec") or {}
    wrong: list[str] = []
    for limits in _container_limits(store, pod["metadata"]["namespace"]):
        for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
            wrong += _violations(container.get("resources") or {}, limits)
    if wrong:
        text = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
        raise forbidden(POD, pod["metadata"].get("name", ""), text)


def _violations(resources: JSON, limits: JSON) -> list[str]:
    wrong: list[str] = []
    ceilings, floors = limits.get("max") or {}, limits.get("min") or {}
    allowed, asked = resources.get("limits") or {}, resources.get("requests") or {}
    for name, ceiling in ceilings.items():
        if name not in allowed:
            wrong.append(f"maximum {name} usage per Container is {ceiling}.  No limit is specified")
        elif quantity.parse(allowed[name]) > quantity.parse(ceiling):
            wrong.append(f"maximum {name} usage per Container is {ceiling}, but limit is {allowed[name]}")
    for name, floor in floors.items():
        if name not in asked:
            wrong.append(f"minimum {name} usage per Container is {floor}.  No request is specified")
        elif quantity.parse(asked[name]) < quantity.parse(floor):
            wrong.append(f"minimum {name} usage per Container is {floor}, but request is {asked[name]}")
    return wrong


def pod_amounts(pod: JSON) -> dict[str, Decimal]:
    """What one pod counts towards quotas."""
    spec = pod.get("spec") or {}
    total: dict[str, Decimal] = {"pods": Decimal(1), "count/pods": Decimal(1)}
    for part in ("requests", "limits"):
        for name in _COMPUTE:
            amounts = _sum(spec.get("containers") or [], part, name)
            at_start = _largest(spec.get("initContainers") or [], part, name)
            found = [amount for amount in (amounts, at_start) if amount is not None]
            if found:
                total[f"{part}.{name}"] = max(found)
                if part == "requests":
                    total[name] = max(found)
    return total


def _sum(containers: Iterable[JSON], part: str, name: str) -> Decimal | None:
    amounts = [((c.get("resources") or {}).get(part) or {}).get(name) for c in containers]
    known = [quantity.parse(amount) for amount in amounts if amount is not None]
    # one container without the amount leaves the pod unbounded, which a quota refuses
    return sum(known, Decimal(0)) if known and len(known) == len(amounts) else None


def _largest(containers: Iterable[JSON], part: str, name: str) -> Decimal | None:
    amounts = [((c.get("resources") or {}).get(part) or {}).get(name) for c in containers]
    return max((quantity.parse(amount) for amount in amounts if amount is not None), default=None)


def usage(store: Store, namespace: str, names: Iterable[str]) -> dict[str, Decimal]:
    """What the namespace uses of the named quota resources."""
    wanted = list(names)
    totals = dict.fromkeys(wanted, Decimal(0))
    for name in wanted:
        counted = _counted_resource(name)
        if counted is not None and counted != "pods":
            totals[name] = Decimal(sum(1 for _ in store.objects(counted, namespace)))
    if any(_counted_resource(name) in (None, "pods") for name in wanted):
        for pod in store.objects("pods", namespace):
            if (pod.get("status") or {}).get("phase") in _FINISHED:
                continue
            amounts = pod_amounts(pod)
            for name in wanted:
                if _counted_resource(name) in (None, "pods"):
                    totals[name] += amounts.get(name, Decimal(0))
    return totals


def _counted_resource(name: str) -> str | None:
    """The stored resource that a quota name counts; None for amounts of compute."""
    if name in _COUNTED:
        return name
    return name.removeprefix("count/") if name.startswith("count/") else None


def check_quota(store: Store, resource: Resource, obj: JSON) -> None:
    """Refuse what would exceed a quota of the namespace. Raises `ApiError` (403)."""
    namespace = obj["metadata"].get("namespace", "")
    quotas = sorted(store.objects("resourcequotas", namespace), key=lambda q: str(q["metadata"]["name"]))
    if not quotas:
        return
    if resource.kind == "Pod":
        asked = pod_amounts(obj)
    else:
        asked = {f"count/{resource.key}": Decimal(1)}
        if resource.plural in _COUNTED and not resource.group:
            asked[resource.plural] = Decimal(1)
    name = str(obj["metadata"].get("name") or "")
    for quota in quotas:
        _check_one(store, resource, name, quota, asked)


def _check_one(store: Store, resource: Resource, name: str, quota: JSON, asked: dict[str, Decimal]) -> None:
    hard = (quota.get("spec") or {}).get("hard") or {}
    if resource.kind == "Pod":
        missing = sorted(key for key in hard if _counted_resource(key) is None and key not in asked)
        if missing:
            title = quota["metadata"]["name"]
            raise forbidden(resource, name, f"failed quota: {title}: must specify {','.join(missing)}")
    relevant = sorted(key for key in hard if key in asked)
    used = usage(store, quota["metadata"]["namespace"], relevant)
    over = [key for key in relevant if used[key] + asked[key] > quantity.parse(hard[key])]
    if over:
        binary = {key: quantity.is_binary(hard[key]) or "memory" in key for key in over}

        def shown(amounts: dict[str, Decimal]) -> str:
            return ",".join(f"{k}={quantity.render(amounts[k], binary=binary[k])}" for k in over)

        limited = ",".join(f"{key}={hard[key]}" for key in over)
        raise forbidden(
            resource,
            name,
            f"exceeded quota: {quota['metadata']['name']}, requested: {shown(asked)}, "
            f"used: {shown(used)}, limited: {limited}",
        )
