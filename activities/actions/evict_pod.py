"""Evict one stuck pod: like deleting it, but the API server asks its disruption budgets first."""

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


class EvictPod:
    spec = ActionSpec(
        type="evict_pod",
        title="Evict pod",
        description="Evict one pod that a controller replaces, if its disruption budgets allow it.",
        risk=Risk.LOW,
        reversible=False,
        kinds=("Pod",),
        params={},
        permissions=(
            Permission(group="", resource="pods", verbs=("get",)),
            Permission(group="", resource="pods/eviction", verbs=("create",)),
        ),
        criteria=("replicas_ready", "no_new_restarts"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.STUCK_POD)
        if isinstance(found, list):
            return found
        action, live = found
        pod = action.target
        controller = controller_kind(live)
        if controller is None:
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, f"nothing would replace {pod}")]
        if live["metadata"].get("deletionTimestamp"):
            why = f"{pod} is being deleted already; an eviction adds nothing"
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, why)]
        radius = workload_radius(scene, affected_workload(scene, diagnosis) or pod, replicas=1)
        if controller == "StatefulSet":
            radius = radius.model_copy(update={"stateful": True})
        if radius.disruptions_allowed == 0:
            why = "the disruption budget allows none"
            return [refused(self.spec, action, Infeasible.BUDGET_EXHAUSTED, why)]
        guarded = radius.disruptions_allowed is not None
        patch = '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"' + pod.name + '"}}'
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
        return [
            offered(
                self.spec,
                action,
                effect=0.72 if guarded else 0.65,  # deleting is as good where nothing guards the pod
                why="this one pod is stuck while its siblings are well; evicted, its controller replaces it",
                radius=radius,
                commands=(f"echo {shlex.quote(patch)} | kubectl create --raw {shlex.quote(path)} -f -",),
                caveats=("The pod's logs and local data are gone with it.",),
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        if controller_kind(live) is None:
            raise Rejected(f"{action.target} has no controller that would replace it")
        if live["metadata"].get("deletionTimestamp"):
            raise Rejected(f"{action.target} is being deleted already")
        change = Change(verb=Verb.EVICT, target=action.target, uid=live["metadata"]["uid"])
        return Prepared(action=action, change=change)


register(EvictPod())
