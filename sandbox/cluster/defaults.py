"""What the API server fills in, by kind."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from cortexops.domain.resource import JSON
from sandbox.cluster import quantity

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_FILE_MODE = 420  # 0644
_DROPPED_WHEN_EMPTY = frozenset(
    {
        "env",
        "envFrom",
        "volumeMounts",
        "tolerations",
        "nodeSelector",
        "imagePullSecrets",
        "volumes",
        "initContainers",
        "command",
        "args",
        "hostAliases",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "taints",
    }
)
_OPAQUE = frozenset({"data", "stringData", "binaryData", "annotations", "labels", "matchLabels", "fieldsV1"})


def tidy(value: Any, field: str = "") -> Any:
    """Drop nulls, and empty values where the real server's types leave them out."""
    if isinstance(value, dict):
        if field in _OPAQUE:
            return {key: "" if item is None and field != "fieldsV1" else item for key, item in value.items()}
        result: JSON = {}
        for key, item in value.items():
            if item is None or (key in _DROPPED_WHEN_EMPTY and item in ({}, [])):
                continue
            result[key] = tidy(item, key)
        return result
    if isinstance(value, list):
        return [tidy(item) for item in value]
    return value


def _fill(target: JSON, **values: Any) -> None:
    for key, value in values.items():
        if target.get(key) is None:
            target[key] = value


def pull_policy(image: str) -> str:
    """Always for `latest` or no tag, otherwise IfNotPresent."""
    name = image.rpartition("/")[2]
    if "@" in name:
        return "IfNotPresent"
    tag = name.partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _amounts(amounts: Any) -> None:
    if isinstance(amounts, dict):
        for key, value in amounts.items():
            try:
                amounts[key] = quantity.canonical(value)
            except ValueError:
                pass  # validation names the field


def _handler(handler: JSON) -> None:
    get = handler.get("httpGet")
    if isinstance(get, dict):
        _fill(get, path="/", scheme="HTTP")


def _container(container: JSON) -> None:
    _fill(
        container,
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy=pull_policy(str(container.get("image") or "")),
        resources={},
    )
    for part in ("limits", "requests"):
        _amounts(container["resources"].get(part))
    for port in container.get("ports") or []:
        _fill(port, protocol="TCP")
    for name in _PROBES:
        probe = container.get(name)
        if isinstance(probe, dict):
            _fill(probe, **_PROBE_DEFAULTS)
            _handler(probe)
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _handler(hook)
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if isinstance(reference, dict):
            _fill(reference, apiVersion="v1")


def _volume(volume: JSON) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            _fill(volume[source], defaultMode=_FILE_MODE)
    if isinstance(volume.get("hostPath"), dict):
        _fill(volume["hostPath"], type="")


def pod_spec(spec: JSON) -> None:
    """Fill a pod's or a template's spec."""
    _fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        _container(container)
    for volume in spec.get("volumes") or []:
        _volume(volume)
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def _template(spec: JSON) -> None:
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        pod_spec(template["spec"])


def _pod(obj: JSON) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        resources = container.get("resources") or {}
        if resources.get("limits"):
            resources["requests"] = resources["limits"] | (resources.get("requests") or {})
            container["resources"] = resources
    pod_spec(spec)
    _fill(spec, enableServiceLinks=True)


def _deployment(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec["strategy"]
    _fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy, rollingUpdate={})
        _fill(strategy["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def _replicated(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, replicas=1)
    _template(spec)


def _stateful_set(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, replicas=1, podManagementPolicy="OrderedReady", updateStrategy={}, revisionHistoryLimit=10)
    _fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _fill(spec["updateStrategy"], rollingUpdate={})
        _fill(spec["updateStrategy"]["rollingUpdate"], partition=0)
    for claim in spec.get("volumeClaimTemplates") or []:
        _fill(claim, apiVersion="v1", kind="PersistentVolumeClaim", status={"phase": "Pending"})
        _claim(claim)
    _template(spec)


def _daemon_set(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, updateStrategy={}, revisionHistoryLimit=10)
    _fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _fill(spec["updateStrategy"], rollingUpdate={})
        _fill(spec["updateStrategy"]["rollingUpdate"], maxUnavailable=1)
    _template(spec)


def _job_spec(spec: JSON) -> None:
    _fill(spec, backoffLimit=6, completionMode="NonIndexed", suspend=False)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        _fill(spec, completions=1)
    _fill(spec, parallelism=1)
    _template(spec)


def _job(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _job_spec(spec)
    uid = obj["metadata"].get("uid")
    if uid and not spec.get("manualSelector"):
        _fill(spec, selector={"matchLabels": {"controller-uid": uid}})
        labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
        _fill(labels, **{"controller-uid": uid, "job-name": obj["metadata"].get("name", "")})


def _cron_job(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _fill(
        spec,
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )
    inner = (spec.get("jobTemplate") or {}).get("spec")
    if isinstance(inner, dict):
        _template(inner)


def _service(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports") or []:
        _fill(port, protocol="TCP")
        if port.get("port") is not None:
            _fill(port, targetPort=port["port"])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] != "ExternalName":
        _fill(spec, internalTrafficPolicy="Cluster", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")


def _endpoints(obj: JSON) -> None:
    for subset in obj.get("subsets") or []:
        for port in subset.get("ports") or []:
            _fill(port, protocol="TCP")


def _secret(obj: JSON) -> None:
    _fill(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if isinstance(plain, dict):
        data = obj.setdefault("data", {})
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def _claim(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, volumeMode="Filesystem")
    _amounts((spec.get("resources") or {}).get("requests"))


def _volume_object(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    _amounts(spec.get("capacity"))


def _namespace(obj: JSON) -> None:
    _fill(obj.setdefault("spec", {}), finalizers=["kubernetes"])
    labels = obj["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")


def _quota(obj: JSON) -> None:
    _amounts((obj.get("spec") or {}).get("hard"))


def _limit_range(obj: JSON) -> None:
    for item in (obj.get("spec") or {}).get("limits") or []:
        for part in ("max", "min", "default", "defaultRequest"):
            _amounts(item.get(part))
        if item.get("type") == "Container":
            ceiling = item.get("max") or {}
            if ceiling:
                item["default"] = ceiling | (item.get("default") or {})
            request = (item.get("default") or {}) | (item.get("min") or {})
            if request:
                item["defaultRequest"] = request | (item.get("defaultRequest") or {})


def _autoscaler(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    target = {"type": "Utilization", "averageUtilization": 80}
    _fill(spec, minReplicas=1, metrics=[{"type": "Resource", "resource": {"name": "cpu", "target": target}}])


def _network_policy(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _node(obj: JSON) -> None:
    status = obj.get("status")
    if isinstance(status, dict):
        _amounts(status.get("capacity"))
        _amounts(status.get("allocatable"))
        if status.get("capacity"):
            _fill(status, allocatable=dict(status["capacity"]))


def _role_binding(obj: JSON) -> None:
    reference = obj.get("roleRef")
    if isinstance(reference, dict):
        _fill(reference, apiGroup="rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            _fill(subject, apiGroup="rbac.authorization.k8s.io")


_BY_KIND: dict[str, Callable[[JSON], None]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replicated,
    "ReplicationController": _replicated,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
    "Service": _service,
    "Endpoints": _endpoints,
    "Secret": _secret,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume_object,
    "Namespace": _namespace,
    "ResourceQuota": _quota,
    "LimitRange": _limit_range,
    "HorizontalPodAutoscaler": _autoscaler,
    "NetworkPolicy": _network_policy,
    "Node": _node,
    "RoleBinding": _role_binding,
    "ClusterRoleBinding": _role_binding,
}


def fill(kind: str, obj: JSON) -> None:
    """Fill in, in place, what the real server would. Malformed parts are left for validation to name."""
    function = _BY_KIND.get(kind)
    if function is not None:
        function(obj)


def qos_class(spec: JSON) -> str:
    """Guaranteed, Burstable or BestEffort."""
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    some, guaranteed = False, True
    for container in containers:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        some = some or bool({"cpu", "memory"} & (limits.keys() | requests.keys()))
        for name in ("cpu", "memory"):
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                guaranteed = False
    if not some:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def initial_status(kind: str, obj: JSON) -> JSON | None:
    """The status of a new object; None leaves what the client sent (a Node registers with one)."""
    if kind == "Pod":
        return {"phase": "Pending", "qosClass": qos_class(obj.get("spec") or {})}
    if kind == "Namespace":
        return {"phase": "Active"}
    if kind in ("PersistentVolumeClaim", "PersistentVolume"):
        return {"phase": "Pending"}
    if kind in ("Service", "Ingress"):
        return {"loadBalancer": {}}
    if kind == "Node":
        return None
    if kind in ("ReplicaSet", "StatefulSet", "ReplicationController"):
        return {"replicas": 0}
    if kind == "DaemonSet":
        fields = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
        return dict.fromkeys(fields, 0)
    if kind == "HorizontalPodAutoscaler":
        return {"currentReplicas": 0, "desiredReplicas": 0, "currentMetrics": None}
    if kind == "PodDisruptionBudget":
        return dict.fromkeys(("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"), 0)
    return {}
