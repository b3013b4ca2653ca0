"""What `kubectl get` prints: the Table form of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cortexops.domain.resource import JSON
from sandbox.cluster.kinds import Resource
from sandbox.cluster.selectors import render

_NONE = "<none>"


class Column(NamedTuple):
    """A heading and how to fill its cell. `wide`: only with `-o wide`."""

    name: str
    cell: Callable[[JSON], Any]
    type: str = "string"
    wide: bool = False


def age_of(text: str | None) -> str:
    """How long ago, as kubectl words it."""
    if not text:
        return "<unknown>"
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        rest = seconds % 60
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        rest = minutes % 60
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{days}d"


def _at(*path: str, default: Any = "") -> Callable[[JSON], Any]:
    def cell(obj: JSON) -> Any:
        value: Any = obj
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return default if value is None else value

    return cell


_NAME = Column("Name", _at("metadata", "name"))
_AGE = Column("Age", lambda obj: age_of(obj["metadata"].get("creationTimestamp")))


def pod_status(pod: JSON) -> str:
    """The STATUS column: the reason that matters most."""
    status = pod.get("status") or {}
    reason = str(status.get("reason") or status.get("phase") or "")
    starting = ""
    begun = status.get("initContainerStatuses") or []
    for index, container in enumerate(begun):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if ended is not None:
            starting = f"Init:{ended.get('reason') or 'ExitCode:' + str(ended.get('exitCode'))}"
        elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
            starting = f"Init:{waiting['reason']}"
        else:
            starting = f"Init:{index}/{len(begun)}"
        break
    if starting:
        reason = starting
    else:
        running = False
        for container in reversed(status.get("containerStatuses") or []):
            state = container.get("state") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated")
            if waiting.get("reason"):
                reason = str(waiting["reason"])
            elif ended is not None:
                code = ended.get("exitCode")
                reason = str(ended.get("reason") or f"ExitCode:{code}")
            elif container.get("ready") and "running" in state:
                running = True
        if reason == "Completed" and running:
            reason = "Running"
    if pod["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def _pod_ready(pod: JSON) -> str:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    total = len((pod.get("spec") or {}).get("containers") or [])
    return f"{sum(1 for item in statuses if item.get('ready'))}/{total}"


def _restarts(pod: JSON) -> str:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    count = sum(int(item.get("restartCount") or 0) for item in statuses)
    ends = [((item.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for item in statuses]
    known = [str(end) for end in ends if end]
    return f"{count} ({age_of(max(known))} ago)" if count and known else str(count)


def _of(part: str, number: str, total: str, total_part: str = "status") -> Callable[[JSON], str]:
    def cell(obj: JSON) -> str:
        return f"{(obj.get(part) or {}).get(number) or 0}/{(obj.get(total_part) or {}).get(total) or 0}"

    return cell


def _status(field: str) -> Callable[[JSON], Any]:
    return _at("status", field, default=0)


def _containers(obj: JSON) -> list[JSON]:
    spec = obj.get("spec") or {}
    found: list[JSON] = ((spec.get("template") or {}).get("spec") or {}).get("containers") or []
    return found


_CONTAINERS = Column("Containers", lambda obj: ",".join(c["name"] for c in _containers(obj)), wide=True)
_IMAGES = Column("Images", lambda obj: ",".join(c.get("image", "") for c in _containers(obj)), wide=True)
_SELECTOR = Column(
    "Selector", lambda obj: render((obj.get("spec") or {}).get("selector")) or _NONE, wide=True
)


def _ports(service: JSON) -> str:
    shown = []
    for port in (service.get("spec") or {}).get("ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(shown) or _NONE


def _external(service: JSON) -> str:
    spec, status = service.get("spec") or {}, service.get("status") or {}
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or _NONE)
    ingress = (status.get("loadBalancer") or {}).get("ingress") or []
    if spec.get("type") == "LoadBalancer":
        return ",".join(str(i.get("ip") or i.get("hostname")) for i in ingress) or "<pending>"
    return _NONE


def _node_status(node: JSON) -> str:
    conditions = (node.get("status") or {}).get("conditions") or []
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
    shown = {"True": "Ready", "False": "NotReady"}.get(str(ready), "NotReady" if ready else "Unknown")
    return shown + (",SchedulingDisabled" if (node.get("spec") or {}).get("unschedulable") else "")


def _roles(node: JSON) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    return ",".join(sorted(k.removeprefix(prefix) for k in labels if k.startswith(prefix))) or _NONE


def _node_address(node: JSON) -> str:
    addresses = (node.get("status") or {}).get("addresses") or []
    return next((str(a.get("address")) for a in addresses if a.get("type") == "InternalIP"), _NONE)


def _endpoints(obj: JSON) -> str:
    shown = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in obj.get("subsets") or []
        for address in subset.get("addresses") or []
        for port in subset.get("ports") or [{"port": ""}]
    ]
    more = f" + {len(shown) - 3} more..." if len(shown) > 3 else ""
    return ",".join(shown[:3]) + more if shown else _NONE


def _slice(obj: JSON) -> str:
    shown = [a for endpoint in obj.get("endpoints") or [] for a in endpoint.get("addresses") or []]
    return ",".join(shown[:3]) + (f" + {len(shown) - 3} more..." if len(shown) > 3 else "") or "<unset>"


def _event_object(event: JSON) -> str:
    about = event.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _last_seen(event: JSON) -> str:
    return age_of(
        event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    )


def _targets(autoscaler: JSON) -> str:
    spec, status = autoscaler.get("spec") or {}, autoscaler.get("status") or {}
    now = {
        (m.get("resource") or {}).get("name"): (m.get("resource") or {}).get("current") or {}
        for m in status.get("currentMetrics") or []
    }
    shown = []
    for metric in spec.get("metrics") or []:
        resource = metric.get("resource") or {}
        wanted = (resource.get("target") or {}).get("averageUtilization")
        has = now.get(resource.get("name"), {}).get("averageUtilization")
        current = "<unknown>" if has is None else f"{has}%"
        shown.append(f"{resource.get('name', metric.get('type'))}: {current}/{wanted}%")
    return ", ".join(shown) or _NONE


def _quota(obj: JSON) -> str:
    status = obj.get("status") or {}
    hard = status.get("hard") or (obj.get("spec") or {}).get("hard") or {}
    used = status.get("used") or {}
    return ", ".join(f"{name}: {used.get(name, 0)}/{amount}" for name, amount in sorted(hard.items()))


def _hosts(ingress: JSON) -> str:
    rules = (ingress.get("spec") or {}).get("rules") or []
    return ",".join(str(rule.get("host") or "*") for rule in rules) or "*"


_DEPLOYMENT_LIKE = (_CONTAINERS, _IMAGES, _SELECTOR)
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "Pod": (
        _NAME,
        Column("Ready", _pod_ready),
        Column("Status", pod_status),
        Column("Restarts", _restarts),
        _AGE,
        Column("IP", _at("status", "podIP", default=_NONE), wide=True),
        Column("Node", _at("spec", "nodeName", default=_NONE), wide=True),
        Column("Nominated Node", _at("status", "nominatedNodeName", default=_NONE), wide=True),
        Column("Readiness Gates", lambda _: _NONE, wide=True),
    ),
    "Deployment": (
        _NAME,
        Column("Ready", _of("status", "readyReplicas", "replicas", "spec")),
        Column("Up-to-date", _status("updatedReplicas"), "integer"),
        Column("Available", _status("availableReplicas"), "integer"),
        _AGE,
        *_DEPLOYMENT_LIKE,
    ),
    "ReplicaSet": (
        _NAME,
        Column("Desired", _at("spec", "replicas", default=0), "integer"),
        Column("Current", _status("replicas"), "integer"),
        Column("Ready", _status("readyReplicas"), "integer"),
        _AGE,
        *_DEPLOYMENT_LIKE,
    ),
    "StatefulSet": (
        _NAME,
        Column("Ready", _of("status", "readyReplicas", "replicas", "spec")),
        _AGE,
        _CONTAINERS,
        _IMAGES,
    ),
    "DaemonSet": (
        _NAME,
        Column("Desired", _status("desiredNumberScheduled"), "integer"),
        Column("Current", _status("currentNumberScheduled"), "integer"),
        Column("Ready", _status("numberReady"), "integer"),
        Column("Up-to-date", _status("updatedNumberScheduled"), "integer"),
        Column("Available", _status("numberAvailable"), "integer"),
        _AGE,
        *_DEPLOYMENT_LIKE,
    ),
    "Service": (
        _NAME,
        Column("Type", _at("spec", "type")),
        Column("Cluster-IP", _at("spec", "clusterIP", default=_NONE)),
        Column("External-IP", _external),
        Column("Port(s)", _ports),
        _AGE,
        Column(
            "Selector",
            lambda obj: render({"matchLabels": (obj.get("spec") or {}).get("selector")}) or _NONE,
            wide=True,
        ),
    ),
    "Node": (
        _NAME,
        Column("Status", _node_status),
        Column("Roles", _roles),
        _AGE,
        Column("Version", _at("status", "nodeInfo", "kubeletVersion")),
        Column("Internal-IP", _node_address, wide=True),
        Column("OS-Image", _at("status", "nodeInfo", "osImage", default="<unknown>"), wide=True),
        Column("Kernel-Version", _at("status", "nodeInfo", "kernelVersion", default="<unknown>"), wide=True),
    ),
    "Namespace": (_NAME, Column("Status", _at("status", "phase")), _AGE),
    "ConfigMap": (_NAME, Column("Data", lambda o: len(o.get("data") or {}), "integer"), _AGE),
    "Secret": (
        _NAME,
        Column("Type", _at("type")),
        Column("Data", lambda o: len(o.get("data") or {}), "integer"),
        _AGE,
    ),
    "Event": (
        Column("Last Seen", _last_seen),
        Column("Type", _at("type")),
        Column("Reason", _at("reason")),
        Column("Object", _event_object),
        Column("Message", lambda event: str(event.get("message") or "").strip()),
        Column("Count", _at("count", default=1), "integer", wide=True),
        Column("Name", _at("metadata", "name"), wide=True),
    ),
    "Endpoints": (_NAME, Column("Endpoints", _endpoints), _AGE),
    "EndpointSlice": (
        _NAME,
        Column("AddressType", _at("addressType")),
        Column("Ports", lambda o: ",".join(str(p.get("port")) for p in o.get("ports") or []) or "<unset>"),
        Column("Endpoints", _slice),
        _AGE,
    ),
    "ServiceAccount": (_NAME, Column("Secrets", lambda o: len(o.get("secrets") or []), "integer"), _AGE),
    "PersistentVolumeClaim": (
        _NAME,
        Column("Status", _at("status", "phase")),
        Column("Volume", _at("spec", "volumeName")),
        Column("Capacity", _at("status", "capacity", "storage")),
        Column("StorageClass", _at("spec", "storageClassName")),
        _AGE,
    ),
    "Job": (
        _NAME,
        Column(
            "Status",
            lambda job: next(
                (
                    {"Complete": "Complete", "Failed": "Failed"}[c["type"]]
                    for c in (job.get("status") or {}).get("conditions") or []
                    if c.get("type") in ("Complete", "Failed") and c.get("status") == "True"
                ),
                "Running",
            ),
        ),
        Column("Completions", _of("status", "succeeded", "completions", "spec")),
        _AGE,
    ),
    "CronJob": (
        _NAME,
        Column("Schedule", _at("spec", "schedule")),
        Column("Suspend", _at("spec", "suspend", default=False)),
        Column("Active", lambda o: len((o.get("status") or {}).get("active") or []), "integer"),
        Column("Last Schedule", lambda o: age_of((o.get("status") or {}).get("lastScheduleTime"))),
        _AGE,
    ),
    "HorizontalPodAutoscaler": (
        _NAME,
        Column(
            "Reference",
            lambda o: "/".join(
                str(((o.get("spec") or {}).get("scaleTargetRef") or {}).get(key)) for key in ("kind", "name")
            ),
        ),
        Column("Targets", _targets),
        Column("MinPods", _at("spec", "minReplicas", default="<unset>")),
        Column("MaxPods", _at("spec", "maxReplicas", default=0), "integer"),
        Column("Replicas", _status("currentReplicas"), "integer"),
        _AGE,
    ),
    "PodDisruptionBudget": (
        _NAME,
        Column("Min Available", _at("spec", "minAvailable", default="N/A")),
        Column("Max Unavailable", _at("spec", "maxUnavailable", default="N/A")),
        Column("Allowed Disruptions", _status("disruptionsAllowed"), "integer"),
        _AGE,
    ),
    "ResourceQuota": (_NAME, _AGE, Column("Request", _quota)),
    "LimitRange": (_NAME, Column("Created At", _at("metadata", "creationTimestamp"))),
    "Ingress": (
        _NAME,
        Column("Class", _at("spec", "ingressClassName", default=_NONE)),
        Column("Hosts", _hosts),
        _AGE,
    ),
    "NetworkPolicy": (
        _NAME,
        Column("Pod-Selector", lambda o: render((o.get("spec") or {}).get("podSelector")) or _NONE),
        _AGE,
    ),
    "Lease": (_NAME, Column("Holder", _at("spec", "holderIdentity")), _AGE),
}


def columns(resource: Resource) -> tuple[Column, ...]:
    """The columns of a kind; name and age for one without its own."""
    return _COLUMNS.get(resource.kind, (_NAME, _AGE))


def table(
    resource: Resource,
    objects: Iterable[JSON],
    metadata: JSON,
    *,
    include: str = "Metadata",
    heads: bool = True,
) -> JSON:
    """Objects as a `meta.k8s.io/v1` Table; `include` says how much of each goes along."""
    chosen = columns(resource)
    definitions = [
        {
            "name": column.name,
            "type": column.type,
            "format": "name" if column.name == "Name" else "",
            "description": column.name,
            "priority": 1 if column.wide else 0,
        }
        for column in chosen
    ]
    rows = [
        {"cells": [c.cell(obj) for c in chosen], "object": _row(resource, obj, include)} for obj in objects
    ]
    result: JSON = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "rows": rows}
    result["columnDefinitions"] = definitions if heads else None
    return result


def _row(resource: Resource, obj: JSON, include: str) -> JSON | None:
    if include == "None":
        return None
    if include == "Object":
        return {"apiVersion": resource.api_version, "kind": resource.kind} | obj
    return partial(obj)


def partial(obj: JSON) -> JSON:
    """An object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }
