"""What a runbook's templates may name at the start: who is meant, as the investigation knows it."""

from __future__ import annotations

from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.findings import roots
from cortexops.domain.kubernetes.pods import is_unready
from cortexops.domain.resource import ResourceRef
from cortexops.domain.runbook_template import LABEL, Scalar
from cortexops.domain.scene import Scene
from cortexops.domain.workload import affected_workload

FACTS: dict[str, str] = {
    "alert": "name of the first alert",
    "severity": "severity of the incident",
    "cluster": "the cluster's name",
    "environment": "the environment of the namespace",
    "kind": "kind of the incident's object",
    "namespace": "its namespace",
    "name": "its name",
    "workload_kind": "kind of the workload that would be mended, or Node",
    "workload_name": "its name",
    "container": "the container that the alert or the cause names",
    "pod": "the pod that the alert names, else the first of the workload that is not ready",
    "node": "the node that the alert names, the incident's own, or that of the pod",
    "category": "category of the cause",
    "cause_kind": "kind of the object that is the cause",
    "cause_namespace": "its namespace",
    "cause_name": "its name",
}
"""Name → meaning. A fact that is not known in an incident is absent."""

_LONGEST = 253


def facts_of(scene: Scene, diagnosis: Diagnosis) -> dict[str, Scalar]:
    """The facts that are known, and the alert's labels as `labels.<name>`."""
    target, cause = diagnosis.target, diagnosis.cause
    labels: dict[str, str] = {}
    for signal in scene.signals:
        labels = {**signal.labels, **labels}
    workload = affected_workload(scene, diagnosis) or _standing_for(scene, target)
    pod = labels.get("pod") or (target.name if target.kind == "Pod" else "") or _unready(scene, workload)
    known: dict[str, str] = {
        "alert": scene.signals[0].name if scene.signals else "",
        "severity": diagnosis.severity.value,
        "cluster": scene.cluster,
        "environment": scene.environment,
        "kind": target.kind,
        "namespace": target.namespace,
        "name": target.name,
        "workload_kind": workload.kind,
        "workload_name": workload.name,
        "container": labels.get("container") or (cause.container if cause else ""),
        "pod": pod,
        "node": _node(scene, target, labels.get("node", ""), pod),
        "category": cause.category.value if cause else "",
        "cause_kind": cause.resource.kind if cause else "",
        "cause_namespace": cause.resource.namespace if cause else "",
        "cause_name": cause.resource.name if cause else "",
    }
    known |= {name: value for label, value in labels.items() if LABEL.fullmatch(name := f"labels.{label}")}
    return {name: value for name, value in known.items() if value and len(value) <= _LONGEST}


def _standing_for(scene: Scene, target: ResourceRef) -> ResourceRef:
    return next(iter(roots(scene)), target)


def _unready(scene: Scene, workload: ResourceRef) -> str:
    own = scene.pods_of(workload)
    return next((ref.name for ref, pod in own if is_unready(pod)), "")


def _node(scene: Scene, target: ResourceRef, label: str, pod: str) -> str:
    if target.kind == "Node":
        return target.name
    live = scene.get(scene.ref("Pod", target.namespace, pod)) if pod else None
    named = ((live or {}).get("spec") or {}).get("nodeName")
    return label or (named if isinstance(named, str) else "")
