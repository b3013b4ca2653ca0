"""Delete one stuck pod, so that its controller makes a new one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import Change, Verb
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import controller_kind, on_cause
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import affected_workload, offered, refused


class DeletePod:
    spec = ActionSpec(
        type="delete_pod",
        title="Delete pod",
        description="Delete one pod that a controller replaces.",
        risk=Risk.LOW,
        reversible=False,
        kinds=("Pod",),
        params={},
        permissions=(Permission(group="", resource="pods", verbs=("get", "delete")),),
        criteria=("replicas_ready", "no_new_restarts"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.STUCK_POD)
        if isinstance(found, list):
            return found
        action, live = found
        pod, controller = action.target, controller_kind(live)
        if controller is None:
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, f"nothing would replace {pod}")]
        if live["metadata"].get("deletionTimestamp"):
            why = f"{pod} is being deleted already: what it waits for is not mended by asking again"
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, why)]
        workload = affected_workload(scene, diagnosis)
        radius = workload_radius(scene, workload or pod, replicas=1)
        if controller == "StatefulSet":  # known from the pod itself, whatever else was found
            radius = radius.model_copy(update={"stateful": True})
        if radius.disruptions_allowed == 0:
            return [
                refused(self.spec, action, Infeasible.BUDGET_EXHAUSTED, "the disruption budget allows none")
            ]
        return [
            offered(
                self.spec,
                action,
                effect=0.7,
                why="this one pod is stuck while its siblings are well; its controller replaces it",
                radius=radius,
                commands=(f"kubectl -n {shlex.quote(pod.namespace)} delete pod {shlex.quote(pod.name)}",),
                caveats=("The pod's logs and local data are gone with it.",),
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        if controller_kind(live) is None:
            raise Rejected(f"{action.target} has no controller that would replace it")
        change = Change(verb=Verb.DELETE, target=action.target, uid=live["metadata"]["uid"])
        return Prepared(action=action, change=change)


register(DeletePod())
