"""Let a paused Deployment roll out again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import replica_count, workload_radius
from cortexops.domain.change import edit
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import named, on_cause
from cortexops.domain.kubernetes.values import mapping
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import offered, patch_of, refused


class ResumeRollout:
    spec = ActionSpec(
        type="resume_rollout",
        title="Resume rollout",
        description="Let a paused Deployment roll out what waits. The pods are rolled.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("Deployment",),
        params={},
        permissions=(Permission(group="apps", resource="deployments", verbs=("get", "patch")),),
        criteria=("rollout_complete", "replicas_ready", "no_new_restarts"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.ROLLOUT_PAUSED)
        if isinstance(found, list):
            return found
        action, live = found
        if not mapping(live, "spec").get("paused"):
            why = f"the rollout of {action.target} is not paused (any more)"
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, why)]
        return [
            offered(
                self.spec,
                action,
                effect=0.7,
                why="its rollout is paused half way; resumed, it goes to the present revision",
                radius=workload_radius(scene, action.target),
                commands=(f"kubectl rollout resume {named(action.target)}",),
                caveats=("Somebody paused it: ask them first. What waits is rolled out then.",),
                before={"paused": True},
                after={},
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        if not mapping(live, "spec").get("paused"):
            raise Rejected(f"the rollout of {action.target} is not paused")
        change = patch_of(live, action.target, [edit(live, "/spec/paused", None, remove=True)], [])
        return Prepared(action=action, change=change, expected_replicas=replica_count(live))


register(ResumeRollout())
