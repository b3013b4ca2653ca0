"""Blast radius: who is touched when an action on a workload or node goes wrong."""

from __future__ import annotations

from collections.abc import Sequence

from cortexops.domain.action import BlastRadius
from cortexops.domain.kubernetes.values import number
from cortexops.domain.ownership import reconciler_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation


def workload_radius(scene: Scene, target: ResourceRef, *, replicas: int | None = None) -> BlastRadius:
    """All replicas of the workload unless fewer are said to be touched."""
    return BlastRadius(
        replicas=replica_count(scene.get(target) or {}) if replicas is None else replicas,
        dependents=tuple(scene.topology.dependents(target)),
        stateful=target.kind == "StatefulSet",
        disruptions_allowed=_disruptions_allowed(scene, target),
    )


def workloads_radius(scene: Scene, targets: Sequence[ResourceRef]) -> BlastRadius:
    """All replicas of all of them, and whoever depends on any."""
    each = [workload_radius(scene, target) for target in dict.fromkeys(targets)]
    allowed = [one.disruptions_allowed for one in each if one.disruptions_allowed is not None]
    return BlastRadius(
        replicas=sum(one.replicas for one in each),
        dependents=tuple(sorted({ref for one in each for ref in one.dependents}, key=str)),
        stateful=any(one.stateful for one in each),
        disruptions_allowed=min(allowed, default=None),
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
    """The mark of a GitOps controller that would revert our change, or nothing."""
    found = reconciler_of(live)
    return found.mark if found is not None else ""
