"""What the API server refuses with 422, field by field."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cortexops.domain.resource import JSON
from sandbox.cluster import quantity, selectors
from sandbox.cluster.errors import Cause, bad_value, duplicate, fixed, required, unsupported
from sandbox.cluster.kinds import Resource
from sandbox.cluster.validation_pods import pod_spec

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_SERVICE = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_RBAC_NAME = re.compile(r"^[^/%]+$")
_QUALIFIED = re.compile(r"^([a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_DATA_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_LABEL_NAMES = frozenset({"Namespace"})
_MOST_DATA = 1024 * 1024
_SUBDOMAIN_TEXT = (
    "a DNS-1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_TEXT = (
    "a DNS-1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SERVICE_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)


def metadata(resource: Resource, obj: JSON) -> list[Cause]:
    """Names, labels and annotations."""
    causes: list[Cause] = []
    meta = obj.get("metadata") or {}
    name = str(meta.get("name") or "")
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    elif resource.group.startswith("rbac."):
        if not _RBAC_NAME.match(name):
            causes.append(bad_value("metadata.name", name, "may not contain '/' or '%'"))
    elif resource.kind == "Service":
        if not _SERVICE.match(name) or len(name) > 63:
            causes.append(bad_value("metadata.name", name, _SERVICE_TEXT))
    elif resource.kind in _LABEL_NAMES:
        if not _LABEL.match(name) or len(name) > 63:
            causes.append(bad_value("metadata.name", name, _LABEL_TEXT))
    elif not _SUBDOMAIN.match(name) or len(name) > 253:
        causes.append(bad_value("metadata.name", name, _SUBDOMAIN_TEXT))
    return causes + labels(meta, "metadata")


def labels(meta: JSON, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for field in ("labels", "annotations"):
        values = meta.get(field)
        if values is None:
            continue
        for key, value in values.items():
            checked = key.lower() if field == "annotations" else key
            if not _QUALIFIED.match(checked) or len(key.rpartition("/")[2]) > 63:
                causes.append(bad_value(f"{path}.{field}", key, "name part must be a qualified name"))
            text = str(value)
            if field == "labels" and (not _LABEL_VALUE.match(text) or len(text) > 63):
                message = "a valid label must be an empty string or consist of alphanumeric characters"
                causes.append(bad_value(f"{path}.{field}", text, message))
    return causes


def _count(spec: JSON, field: str, path: str = "spec") -> list[Cause]:
    value = spec.get(field)
    if isinstance(value, int) and value < 0:
        return [bad_value(f"{path}.{field}", value, "must be greater than or equal to 0")]
    return []


def _selector(spec: JSON) -> list[Cause]:
    selector = spec.get("selector")
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector:
        message = "selector can not be empty" if selector is not None else ""
        causes = [required("spec.selector", message)]
        if selector is None or selector == {}:
            causes.append(
                bad_value(
                    "spec.template.metadata.labels",
                    template_labels,
                    "`selector` does not match template `labels`",
                )
            )
        return causes
    if not selectors.matches(selector, template_labels):
        return [
            bad_value(
                "spec.template.metadata.labels",
                template_labels,
                "`selector` does not match template `labels`",
            )
        ]
    return []


def _template(spec: JSON, restart: tuple[str, ...] = ("Always",)) -> list[Cause]:
    template = spec.get("template") or {}
    causes = labels(template.get("metadata") or {}, "spec.template.metadata")
    inner = template.get("spec") or {}
    causes += pod_spec(inner, "spec.template.spec")
    policy = inner.get("restartPolicy")
    if policy is not None and policy not in restart:
        causes.append(unsupported("spec.template.spec.restartPolicy", policy, restart))
    return causes


def _workload(_: Resource, obj: JSON) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _count(spec, "replicas") + _count(spec, "minReadySeconds") + _count(spec, "revisionHistoryLimit")
    return causes + _selector(spec) + _template(spec)


def _deployment(resource: Resource, obj: JSON) -> list[Cause]:
    causes = _workload(resource, obj)
    spec = obj.get("spec") or {}
    strategy = spec.get("strategy") or {}
    kinds = ("Recreate", "RollingUpdate")
    if strategy.get("type") not in kinds:
        causes.append(unsupported("spec.strategy.type", strategy.get("type"), kinds))
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        causes.append(
            fixed("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
        )
    elif rolling and all(str(rolling.get(k)) in ("0", "0%") for k in ("maxSurge", "maxUnavailable")):
        message = "may not be 0 when `maxSurge` is 0"
        causes.append(
            bad_value("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], message)
        )
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if isinstance(deadline, int) and deadline <= ready:
        causes.append(
            bad_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
        )
    return causes


def _controller(_: Resource, obj: JSON) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _count(spec, "replicas")
    if not spec.get("selector"):
        causes.append(required("spec.selector"))
    return causes + _template(spec)


def _job(_: Resource, obj: JSON) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = [c for f in ("parallelism", "completions", "backoffLimit") for c in _count(spec, f)]
    inner = (spec.get("template") or {}).get("spec") or {}
    causes += pod_spec(inner, "spec.template.spec")
    if inner.get("restartPolicy") not in ("Never", "OnFailure"):
        field = "spec.template.spec.restartPolicy"
        causes.append(unsupported(field, inner.get("restartPolicy"), ("OnFailure", "Never")))
    return causes


def _cron_job(_: Resource, obj: JSON) -> list[Cause]:
    spec = obj.get("spec") or {}
    schedule = str(spec.get("schedule") or "")
    if not schedule:
        return [required("spec.schedule")]
    if len(schedule.split()) != 5 and not schedule.startswith("@"):
        message = f"expected exactly 5 fields, found {len(schedule.split())}: {schedule}"
        return [bad_value("spec.schedule", schedule, message)]
    return []


def _service(_: Resource, obj: JSON) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    kinds = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec.get("type") not in kinds:
        causes.append(unsupported("spec.type", spec.get("type"), kinds))
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        causes.append(required("spec.ports"))
    names: set[str] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        number = port.get("port")
        if not isinstance(number, int) or not 1 <= number <= 65535:
            causes.append(bad_value(f"{path}.port", number or 0, "must be between 1 and 65535, inclusive"))
        name = str(port.get("name") or "")
        if len(ports) > 1 and not name:
            causes.append(required(f"{path}.name"))
        elif name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
    return causes


def _data(_: Resource, obj: JSON) -> list[Cause]:
    causes = []
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (obj.get(field) or {}).items():
            size += len(str(value))
            if not _DATA_KEY.match(key):
                message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                causes.append(bad_value(f"{field}[{key}]", key, message))
    if size > _MOST_DATA:
        causes.append(Cause("FieldValueTooLong", "", f"Too long: must have at most {_MOST_DATA} bytes"))
    return causes


def _amounts(amounts: JSON, path: str) -> list[Cause]:
    causes = []
    for name, value in amounts.items():
        try:
            if quantity.parse(value) < 0:
                field = f"{path}[{name}]"
                causes.append(bad_value(field, str(value), "must be greater than or equal to 0"))
        except ValueError:
            causes.append(bad_value(f"{path}[{name}]", str(value), "must be a quantity"))
    return causes


def _quota(_: Resource, obj: JSON) -> list[Cause]:
    return _amounts((obj.get("spec") or {}).get("hard") or {}, "spec.hard")


def _autoscaler(_: Resource, obj: JSON) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    most, least = spec.get("maxReplicas") or 0, spec.get("minReplicas") or 0
    if least < 1:
        causes.append(bad_value("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        causes.append(bad_value("spec.maxReplicas", most, "must be greater than 0"))
    elif most < least:
        message = "must be greater than or equal to `minReplicas`"
        causes.append(bad_value("spec.maxReplicas", most, message))
    target = spec.get("scaleTargetRef") or {}
    causes += [required(f"spec.scaleTargetRef.{key}") for key in ("kind", "name") if not target.get(key)]
    return causes


def _budget(_: Resource, obj: JSON) -> list[Cause]:
    spec = obj.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        return [bad_value("spec", {}, "minAvailable and maxUnavailable cannot be both set")]
    return []


def _event(_: Resource, obj: JSON) -> list[Cause]:
    about = (obj.get("involvedObject") or {}).get("namespace") or "default"
    if about != obj["metadata"].get("namespace"):
        return [bad_value("involvedObject.namespace", about, "does not match event.namespace")]
    return []


def _pod(_: Resource, obj: JSON) -> list[Cause]:
    return pod_spec(obj.get("spec") or {}, "spec")


_BY_KIND: dict[str, Callable[[Resource, JSON], list[Cause]]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "DaemonSet": _workload,
    "ReplicationController": _controller,
    "Job": _job,
    "CronJob": _cron_job,
    "Service": _service,
    "ConfigMap": _data,
    "Secret": _data,
    "ResourceQuota": _quota,
    "HorizontalPodAutoscaler": _autoscaler,
    "PodDisruptionBudget": _budget,
    "Event": _event,
}


def on_write(resource: Resource, obj: JSON) -> list[Cause]:
    """Everything wrong with an object that is to be stored."""
    causes = metadata(resource, obj)
    function = _BY_KIND.get(resource.kind)
    return causes + (function(resource, obj) if function else [])


_FIXED_AFTER_CREATION: dict[str, tuple[str, ...]] = {
    "Deployment": ("selector",),
    "ReplicaSet": ("selector",),
    "DaemonSet": ("selector",),
    "Job": ("selector", "template", "completions"),
}
_STATEFUL_SET_MAY_CHANGE = frozenset(
    {
        "replicas",
        "template",
        "updateStrategy",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
        "ordinals",
        "revisionHistoryLimit",
    }
)


def on_update(resource: Resource, old: JSON, new: JSON) -> list[Cause]:
    """What may not change once the object exists."""
    causes: list[Cause] = []
    before, after = old.get("spec") or {}, new.get("spec") or {}
    for field in _FIXED_AFTER_CREATION.get(resource.kind, ()):
        if before.get(field) != after.get(field):
            causes.append(bad_value(f"spec.{field}", after.get(field), "field is immutable"))
    if resource.kind == "StatefulSet":
        keys = before.keys() | after.keys()
        if any(before.get(k) != after.get(k) for k in keys - _STATEFUL_SET_MAY_CHANGE):
            text = (
                "updates to statefulset spec for fields other than 'replicas', 'template', "
                "and 'updateStrategy' are forbidden"
            )
            causes.append(fixed("spec", text))
    if resource.kind == "Service":
        was, now = before.get("clusterIP"), after.get("clusterIP")
        if was and was != now and after.get("type") != "ExternalName":
            causes.append(bad_value("spec.clusterIP", now or "", "field is immutable"))
    if resource.kind in ("ConfigMap", "Secret") and old.get("immutable"):
        changed = any(old.get(k) != new.get(k) for k in ("data", "binaryData"))
        if changed or not new.get("immutable"):
            causes.append(fixed("data", "field is immutable when `immutable` is set"))
    if resource.kind == "Secret" and old.get("type") != new.get("type"):
        causes.append(bad_value("type", new.get("type"), "field is immutable"))
    if resource.kind == "Pod":
        causes += _pod_change(before, after)
    return causes


def _pod_change(before: JSON, after: JSON) -> list[Cause]:
    def frozen(spec: JSON) -> Any:
        kept = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations")}
        for field in ("containers", "initContainers"):
            if field in kept:
                kept[field] = [{k: v for k, v in c.items() if k != "image"} for c in kept[field]]
        return kept

    old_tolerations, new_tolerations = before.get("tolerations") or [], after.get("tolerations") or []
    if frozen(before) == frozen(after) and all(item in new_tolerations for item in old_tolerations):
        return []
    return [
        fixed(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`, "
            "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` "
            "(only additions to existing tolerations)",
        )
    ]
