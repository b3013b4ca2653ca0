"""What analyzers ask of a scene: whose trouble it is, which containers fail, what was released when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cortexops.domain.brokers import failing_clients
from cortexops.domain.calls import (
    DNS,
    blamed_links,
    called_or_may,
    cluster_services,
    complaints_about,
    own_words,
    unnamed_complaints,
)
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.values import mapping, texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import (
    Link,
    Subject,
    Trouble,
    alerted_at,
    backing,
    means_service,
    seen_until,
    service_ready,
    signal_types,
    top_owner,
)
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import (
    failed_before,
    has_finished,
    is_troubled,
    log_lines,
    serves_badly,
    subject_of,
    troubles,
)

WORKLOADS = (
    "Deployment",
    "Rollout",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "ReplicaSet",
    "ReplicationController",
)
__all__ = [  # asked for here by all that read a scene, wherever they are worked out
    "DNS", "Link", "Subject", "Trouble", "alerted_at", "backing", "blamed_links", "called_or_may", "cluster_services",
    "complaints_about", "failed_before", "has_finished", "is_troubled", "log_lines", "means_service", "own_words",
    "seen_until", "serves_badly", "service_ready", "signal_types", "top_owner", "troubles", "unnamed_complaints",
]  # fmt: skip
NEARLY_CALLED = 0.75
"""Likeness (difflib's ratio) of two names of which one may be a slip of the other."""
_DEEPEST = 4  # calls followed upstream
_OF_CLIENTS = 0.95  # how sure it is that a broker's queue grows as a client of it does not run


def roots(scene: Scene) -> list[ResourceRef]:
    """The workloads that the target stands for."""
    topology, target = scene.topology, scene.target
    if target.kind in (*WORKLOADS, "Pod"):
        found = [top_owner(scene, target)]
    elif target.kind == "Service":
        found = backing(scene, target) or topology.out(target, Relation.MEANT_FOR)
    elif target.kind in ("Ingress", "HTTPRoute", "Gateway"):
        services = topology.out(target, Relation.ROUTES_TO)
        if target.kind == "Gateway":
            services = [
                ref
                for route, _ in scene.of_kind("HTTPRoute")
                for ref in topology.out(route, Relation.ROUTES_TO)
            ]
        found = [workload for service in services for workload in backing(scene, service)]
        found += [w for service in services for w in topology.out(service, Relation.MEANT_FOR)]
    elif target.kind == "Namespace":
        found = topology.out(target, Relation.MEANT_FOR)
    elif target.kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
        found = topology.out(target, Relation.SCALES, Relation.GUARDS)
    elif target.kind in ("ConfigMap", "Secret", "PersistentVolumeClaim"):
        found = topology.into(target, Relation.USES_CONFIG, Relation.USES_SECRET, Relation.MOUNTS)
    else:
        found = []
    return list(dict.fromkeys(found))


_known: ContextVar[tuple[Scene, tuple[Subject, ...]] | None] = ContextVar("known", default=None)


@contextmanager
def knowing_subjects(scene: Scene) -> Iterator[None]:
    """Within it the subjects of this very scene are worked out once: every analyzer asks for them, and following calls
    is most of what an analysis costs."""
    token = _known.set((scene, tuple(_subjects(scene))))
    try:
        yield
    finally:
        _known.reset(token)


def subjects(scene: Scene) -> list[Subject]:
    """The target's workloads, then those upstream that its trouble leads to, and the clients that do not run of a
    broker whose queues grow. Bystanders are not among them."""
    known = _known.get()
    return list(known[1]) if known is not None and known[0] is scene else _subjects(scene)


def _subjects(scene: Scene) -> list[Subject]:
    found = {ref: subject_of(scene, ref) for ref in roots(scene)}
    frontier = list(found.values())
    for depth in range(1, _DEEPEST + 1):
        further = []
        for subject in frontier:
            for link in blamed_links(scene, subject):
                for ref in link.workloads:
                    if ref not in found:
                        found[ref] = subject_of(scene, ref, 2 * depth, round(subject.weight * link.weight, 3))
                        further.append(found[ref])
        frontier = further
    for ref in failing_clients(scene, list(found)):
        found.setdefault(ref, subject_of(scene, ref, 2, _OF_CLIENTS))
    return list(found.values())


def own_subjects(scene: Scene) -> list[Subject]:
    """Only the target's own workloads."""
    return [subject_of(scene, ref) for ref in roots(scene)]


def config_data(scene: Scene, namespace: str, name: str) -> dict[str, str]:
    """The values of a ConfigMap as collected."""
    return texts(scene.get(scene.ref("ConfigMap", namespace, name)) or {}, "data")


def template_spec(subject: Subject) -> JSON:
    """The pod spec that the workload runs; the pod's own when there is no workload."""
    if subject.ref.kind == "Pod":
        return mapping(subject.obj, "spec")
    if subject.ref.kind == "CronJob":
        return mapping(subject.obj, "spec", "jobTemplate", "spec", "template", "spec")
    found = mapping(subject.obj, "spec", "template", "spec")
    return found or (mapping(subject.pods[0][1], "spec") if subject.pods else {})


def template_labels(scene: Scene, ref: ResourceRef) -> dict[str, str]:
    """The labels of a workload's pods."""
    obj = scene.get(ref) or {}
    if ref.kind == "Pod":
        return meta.labels(obj)
    if ref.kind == "CronJob":
        return texts(obj, "spec", "jobTemplate", "spec", "template", "metadata", "labels")
    return texts(obj, "spec", "template", "metadata", "labels")
