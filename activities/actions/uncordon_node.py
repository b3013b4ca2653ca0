"""Let a node take new pods again that somebody has cordoned."""

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
from cortexops.domain.fitting import on_cause
from cortexops.domain.kubernetes.meta import condition, writes
from cortexops.domain.kubernetes.values import mapping
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import offered, patch_of, refused


class UncordonNode:
    spec = ActionSpec(
        type="uncordon_node",
        title="Uncordon node",
        description="Let a cordoned node take new pods again. A person cordoned it, so a person agrees first.",
        risk=Risk.HIGH,
        reversible=True,
        kinds=("Node",),
        params={},
        permissions=(Permission(group="", resource="nodes", verbs=("get", "patch")),),
        criteria=("change_in_place", "rollout_complete", "replicas_ready"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.NODE_UNSCHEDULABLE)
        if isinstance(found, list):
            return found
        action, live = found
        node = action.target
        if not mapping(live, "spec").get("unschedulable"):
            why = f"{node} is not cordoned (any more)"
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, why)]
        if condition(live, "Ready").status != "True":
            why = f"{node} is cordoned and not ready: it would take pods and not run them"
            return [refused(self.spec, action, Infeasible.BOUND_REACHED, why)]
        write = writes(live, "spec", "unschedulable")
        by = f" by {write.manager}" if write is not None and write.manager else ""
        return [
            offered(
                self.spec,
                action,
                effect=0.5,
                why=f"it is ready and was cordoned{by}; pods that fit nowhere else wait for it",
                radius=node_radius(scene, node),
                commands=(f"kubectl uncordon {shlex.quote(node.name)}",),
                caveats=(
                    f"Somebody cordoned it{by}, and it may be about to be drained, repaired or replaced: ask "
                    "them before anything else. It is never uncordoned without a person's yes.",
                ),
                before={"unschedulable": True},
                after={},
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        if not mapping(live, "spec").get("unschedulable"):
            raise Rejected(f"{action.target} is not cordoned")
        if condition(live, "Ready").status != "True":
            raise Rejected(f"{action.target} is not ready: it would take pods and not run them")
        change = patch_of(live, action.target, [edit(live, "/spec/unschedulable", None, remove=True)], [])
        return Prepared(action=action, change=change)


register(UncordonNode())
