"""From labels to the object that an alert is about.

Metrics about a workload carry the labels of the exporter as well (kube-state-metrics' own pod, service and
scrape job). So the order below goes from what can only mean the object to what may mean the exporter, and a
label that the scrape renamed (`exported_…`) beats the plain one.
"""

from __future__ import annotations

from collections.abc import Mapping

from cortexops.domain.resource import KINDS, ResourceRef
from cortexops.domain.signal import SignalType
from ingest.source import NoTarget, check_resource, cluster_name

_ORDER = (
    ("deployment", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("replicaset", "ReplicaSet"),
    ("cronjob", "CronJob"),
    ("job_name", "Job"),
    ("persistentvolumeclaim", "PersistentVolumeClaim"),
    ("horizontalpodautoscaler", "HorizontalPodAutoscaler"),
    ("hpa", "HorizontalPodAutoscaler"),
    ("poddisruptionbudget", "PodDisruptionBudget"),
    ("pod", "Pod"),
    ("pod_name", "Pod"),
    ("kubernetes_pod_name", "Pod"),
    ("node", "Node"),
    ("kubernetes_node", "Node"),
    ("ingress", "Ingress"),
    ("service", "Service"),
)
_WORKLOAD_TYPES = {
    kind.lower(): kind for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
}
_ACCEPTED = "deployment, statefulset, daemonset, cronjob, job_name, pod, node, service"


def _label(labels: Mapping[str, str], name: str) -> str:
    return labels.get(f"exported_{name}") or labels.get(name) or ""


def _object(labels: Mapping[str, str], name: str, kind: SignalType) -> tuple[str, str, str] | None:
    """(kind, name, label it came from)."""
    if kind is SignalType.NODE_NOT_READY or name.startswith(("KubeNode", "Node")):
        for label in ("node", "kubernetes_node"):
            if found := _label(labels, label):
                return "Node", found, label
    if (found := _label(labels, "workload")) and (
        workload := _WORKLOAD_TYPES.get(_label(labels, "workload_type").lower())
    ):
        return workload, found, "workload"
    for label, object_kind in _ORDER:
        if found := _label(labels, label):
            return object_kind, found, label
    # `job` is the scrape job on nearly every metric; only an alert about jobs means a Job by it.
    if "Job" in name and (found := _label(labels, "job")):
        return "Job", found, "job"
    return None


def resource_of(labels: Mapping[str, str], name: str, kind: SignalType, *, cluster: str) -> ResourceRef:
    """The object behind the labels of the alert `name`; `cluster` unless a label names one.

    Raises `NoTarget` naming the missing label, `InvalidInput` for one that cannot be a name.
    """
    where = cluster_name(labels.get("cluster") or cluster, "labels.cluster")
    found = _object(labels, name, kind)
    if found is None:
        raise NoTarget("labels", f"name no Kubernetes object; give one of {_ACCEPTED}")
    object_kind, object_name, label = found
    namespace = ""
    if KINDS[object_kind].namespaced:
        namespace = _label(labels, "namespace") or labels.get("kubernetes_namespace", "")
        if not namespace:
            raise NoTarget("labels.namespace", f"is missing; a {object_kind} (label {label}) needs one")
    return check_resource(
        ResourceRef(cluster=where, kind=object_kind, namespace=namespace, name=object_name), "labels"
    )
