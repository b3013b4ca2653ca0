"""Keep new pods off a failing node."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import node_radius
from cortexops.domain.change import edit
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import on_cause, usable
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.words import counted
from cortexops.domain.workload import offered, patch_of, refused


class CordonNode:
    spec = ActionSpec(
        type="cordon_node",
        title="Cordon node",
        description="Mark a node unschedulable. Running pods stay; the damage is contained, not mended.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("Node",),
        params={},
        permissions=(Permission(group="", resource="nodes", verbs=("get", "patch")),),
        criteria=("node_unschedulable",),
        contains_only=True,
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.NODE_NOT_READY, Category.NODE_PRESSURE)
        if isinstance(found, list):
            return found
        action, live = found
        node = action.target
        if live.get("spec", {}).get("unschedulable"):
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, f"{node} is cordoned already")]
        others = [ref for ref, other in scene.of_kind("Node") if ref != node and usable(other)]
        if not others:
            return [refused(self.spec, action, Infeasible.NO_OTHER_NODE, "no other node could take new pods")]
        return [
            offered(
                self.spec,
                action,
                effect=0.6,
                why=f"new pods go to {counted(len(others), 'other node')} until a person has looked at this one",
                radius=node_radius(scene, node),
                commands=(f"kubectl cordon {shlex.quote(node.name)}",),
                caveats=("The node itself is not mended: somebody has to look at it.",),
                before={"unschedulable": False},
                after={"unschedulable": True},
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        if live.get("spec", {}).get("unschedulable"):
            raise Rejected(f"{action.target} is cordoned already")
        change = patch_of(live, action.target, [edit(live, "/spec/unschedulable", True)], [])
        return Prepared(action=action, change=change)


register(CordonNode())
