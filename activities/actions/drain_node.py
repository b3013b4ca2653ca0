"""Empty a failing node: cordon it, then evict its pods as their disruption budgets allow."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime

from activities.actions import Listing, register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import node_radius
from cortexops.domain.change import Change, FieldEdit, PodRef, Verb, edit
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import controller_kind, on_cause, usable
from cortexops.domain.kubernetes.meta import condition
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.room import Reads
from cortexops.domain.scene import Scene
from cortexops.domain.words import counted
from cortexops.domain.workload import offered, refused

_MOST = 250  # pods; a node holds 110 by default
_MIRROR = "kubernetes.io/config.mirror"
_OVER = frozenset({"Succeeded", "Failed"})


class DrainNode:
    spec = ActionSpec(
        type="drain_node",
        title="Drain node",
        description="Cordon a node and evict its pods, one by one, within their disruption budgets. Pods of "
        "DaemonSets, static pods, and pods that nothing would replace stay. Undoing it only uncordons.",
        risk=Risk.HIGH,
        reversible=True,
        kinds=("Node",),
        params={},
        permissions=(
            Permission(group="", resource="nodes", verbs=("get", "patch", "list")),
            Permission(group="", resource="pods", verbs=("get", "list")),
            Permission(group="", resource="pods/eviction", verbs=("create",)),
        ),
        criteria=("node_unschedulable", "node_drained"),
        contains_only=True,
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.NODE_NOT_READY)
        if isinstance(found, list):
            return found
        action, live = found
        node = action.target
        if condition(live, "Ready").status == "Unknown":
            why = (
                f"the kubelet of {node} does not answer: evicted pods would not end, and whether theirs still "
                "write to their volumes has to be made sure first"
            )
            return [refused(self.spec, action, Infeasible.NOT_THE_CAUSE, why)]
        others = [ref for ref, other in scene.of_kind("Node") if ref != node and usable(other)]
        if not others:
            return [refused(self.spec, action, Infeasible.NO_OTHER_NODE, "no other node could take its pods")]
        going = evictable(pod for _, pod in scene.pods_on(node))
        if not going:
            why = f"no pod was seen on {node} that could be moved"
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, why)]
        radius = node_radius(scene, node)
        return [
            offered(
                self.spec,
                action,
                effect=0.4,
                why=f"{counted(len(going), 'pod')} would start elsewhere, on {counted(len(others), 'other node')}",
                radius=radius,
                commands=(
                    f"kubectl drain {shlex.quote(node.name)} --ignore-daemonsets{_local(scene, node)}",
                ),
                caveats=(
                    "Pods that are evicted do not come back by undoing it; local data of theirs is lost.",
                    "The other nodes must have room for them.",
                ),
                before={"unschedulable": False},
                after={"unschedulable": True},
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def lists(self, action: Action) -> list[Listing]:
        return [Listing("Pod", fields=f"spec.nodeName={action.target.name}"), Listing("Node")]

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        known, node = Reads(reads), action.target
        if not any(ref.name != node.name and usable(other) for ref, other in known.of_kind("Node")):
            raise Rejected(f"no other node could take the pods of {node}")
        on_it = [pod for _, pod in known.of_kind("Pod") if text(pod, "spec", "nodeName") == node.name]
        going = evictable(on_it)
        if not going:
            raise Rejected(f"{node} has no pod that could be moved")
        if len(going) > _MOST:
            raise Rejected(f"{node} has {len(going)} pods to move, more than {_MOST}: that is for a person")
        edits: tuple[FieldEdit, ...] = ()
        if not mapping(live, "spec").get("unschedulable"):
            edits = (edit(live, "/spec/unschedulable", True),)
        change = Change(
            verb=Verb.DRAIN,
            target=node,
            uid=live["metadata"]["uid"],
            generation=live["metadata"].get("generation"),
            edits=edits,
            pods=tuple(going),
        )
        return Prepared(action=action, change=change)


def evictable(pods: Iterable[JSON]) -> list[PodRef]:
    """The pods that a controller would make again elsewhere: none of a DaemonSet, no static pod, none that is
    done or going. Sorted, so that the same pods are the same plan."""
    found = []
    for pod in pods:
        metadata = mapping(pod, "metadata")
        controller = controller_kind(pod)
        if controller in (None, "DaemonSet", "Node") or _MIRROR in mapping(metadata, "annotations"):
            continue
        if metadata.get("deletionTimestamp") or text(pod, "status", "phase") in _OVER:
            continue
        found.append(
            PodRef(
                namespace=text(metadata, "namespace"), name=text(metadata, "name"), uid=text(metadata, "uid")
            )
        )
    return sorted(found, key=lambda pod: (pod.namespace, pod.name, pod.uid))


def _local(scene: Scene, node: ResourceRef) -> str:
    """The option without which kubectl refuses to evict pods that keep data on the node."""
    keep = any(
        "emptyDir" in volume
        for _, pod in scene.pods_on(node)
        if controller_kind(pod) not in ("DaemonSet", "Node")
        for volume in objects(pod, "spec", "volumes")
    )
    return " --delete-emptydir-data" if keep else ""


register(DrainNode())
