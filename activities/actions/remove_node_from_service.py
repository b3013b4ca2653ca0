"""Take a failing node out of service: no new pods, and no traffic of external load balancers through it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from activities.actions import Listing, register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import node_radius
from cortexops.domain.change import edit, pointer
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import on_cause, usable
from cortexops.domain.kubernetes.values import mapping
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.room import Reads
from cortexops.domain.scene import Scene
from cortexops.domain.words import counted
from cortexops.domain.workload import offered, patch_of, refused

_EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


class RemoveNodeFromService:
    spec = ActionSpec(
        type="remove_node_from_service",
        title="Remove node from service",
        description="Cordon a node and exclude it from external load balancers. Its pods stay.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("Node",),
        params={},
        permissions=(Permission(group="", resource="nodes", verbs=("get", "patch", "list")),),
        criteria=("change_in_place", "node_unschedulable"),
        contains_only=True,
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.NODE_NOT_READY)
        if isinstance(found, list):
            return found
        action, live = found
        node = action.target
        if _excluded(live) and mapping(live, "spec").get("unschedulable"):
            why = f"{node} is out of service already"
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, why)]
        others = [ref for ref, other in scene.of_kind("Node") if ref != node and usable(other)]
        if not others:
            return [refused(self.spec, action, Infeasible.NO_OTHER_NODE, "no other node could serve")]
        return [
            offered(
                self.spec,
                action,
                effect=0.45,
                why=f"new pods and outside traffic go to {counted(len(others), 'other node')} until people have looked",
                radius=node_radius(scene, node),
                commands=(
                    f"kubectl cordon {shlex.quote(node.name)}",
                    f"kubectl label node {shlex.quote(node.name)} {_EXCLUDED}=true",
                ),
                caveats=("The node itself is not mended: somebody has to look at it.",),
                before={"unschedulable": False},
                after={"unschedulable": True, "labels": {_EXCLUDED: "true"}},
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def lists(self, action: Action) -> list[Listing]:
        return [Listing("Node")]

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        node = action.target
        nodes = Reads(reads).of_kind("Node")
        if not any(ref.name != node.name and usable(other) for ref, other in nodes):
            raise Rejected(f"no other node could serve instead of {node}")
        edits = [] if _excluded(live) else [edit(live, pointer("metadata", "labels", _EXCLUDED), "true")]
        if not mapping(live, "spec").get("unschedulable"):
            edits.append(edit(live, "/spec/unschedulable", True))
        return Prepared(action=action, change=patch_of(live, node, edits, []))


def _excluded(live: JSON) -> bool:
    return _EXCLUDED in mapping(live, "metadata", "labels")


register(RemoveNodeFromService())
