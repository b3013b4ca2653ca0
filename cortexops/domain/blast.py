"""Blast radius: who is touched when an action on a workload or node goes wrong."""

from __future__ import annotations

from cortexops.domain.action import BlastRadius
from cortexops.domain.kubernetes.values import mapping, number
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

GITOPS_MARKS = (
    ("labels", "argocd.argoproj.io/instance"),
    ("annotations", "argocd.argoproj.io/tracking-id"),
    ("labels", "kustomize.toolkit.fluxcd.io/name"),
    ("labels", "helm.toolkit.fluxcd.io/name"),
)
"""Marks of controllers that would revert our change: their objects are changed in Git, not here."""


def workload_radius(scene: Scene, target: ResourceRef, *, replicas: int | None = None) -> BlastRadius:
    """All replicas of the workload unless fewer are said to be touched."""
    return BlastRadius(
        replicas=replica_count(scene.get(target) or {}) if replicas is None else replicas,
        dependents=tuple(scene.topology.dependents(target)),
        stateful=target.kind == "StatefulSet",
        disruptions_allowed=_disruptions_allowed(scene, target),
    )


def replica_count(live: JSON) -> int:
    """How many pods the workload asks for; of a DaemonSet, on how many nodes it is to run."""
    if live.get("kind") == "DaemonSet":
        return number(live, "status", "desiredNumberScheduled", default=1)
    return number(live, "spec", "replicas", default=1)


def node_radius(scene: Scene, node: ResourceRef) -> BlastRadius:
    """The pods on the node and the namespaces they are in."""
    pods = scene.pods_on(node)
    return BlastRadius(replicas=len(pods), namespaces=max(1, len({ref.namespace for ref, _ in pods})))


def _disruptions_allowed(scene: Scene, target: ResourceRef) -> int | None:
    allowed = [
        number(budget, "status", "disruptionsAllowed")
        for ref in scene.topology.into(target, Relation.GUARDS)
        if (budget := scene.get(ref)) is not None
    ]
    return min(allowed) if allowed else None


def gitops_owner(live: JSON) -> str:
    """The mark of a GitOps controller on the object, or nothing."""
    for place, mark in GITOPS_MARKS:
        if mark in mapping(live, "metadata", place):
            return mark
    return ""
