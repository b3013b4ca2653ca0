"""Let a suspended CronJob start jobs again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import edit
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import on_cause
from cortexops.domain.kubernetes.values import mapping
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import offered, patch_of, refused


class ResumeCronJob:
    spec = ActionSpec(
        type="resume_cronjob",
        title="Resume CronJob",
        description="Let a suspended CronJob start jobs again.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("CronJob",),
        params={},
        permissions=(Permission(group="batch", resource="cronjobs", verbs=("get", "patch")),),
        criteria=("change_in_place",),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        found = on_cause(self.spec, scene, diagnosis, Category.CRONJOB_SUSPENDED)
        if isinstance(found, list):
            return found
        action, live = found
        target = action.target
        if not mapping(live, "spec").get("suspend"):
            why = f"{target} is not suspended (any more)"
            return [refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, why)]
        return [
            offered(
                self.spec,
                action,
                effect=0.7,
                why="it is suspended and starts nothing",
                radius=workload_radius(scene, target, replicas=1),
                commands=(
                    f"kubectl -n {shlex.quote(target.namespace)} patch cronjob {shlex.quote(target.name)} "
                    """--type merge -p '{"spec":{"suspend":false}}'""",
                ),
                caveats=(
                    "Somebody suspended it: ask why first.",
                    "Without startingDeadlineSeconds, a run that was missed is started at once.",
                ),
                before={"suspend": True},
                after={"suspend": False},
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        if not mapping(live, "spec").get("suspend"):
            raise Rejected(f"{action.target} is not suspended")
        change = patch_of(live, action.target, [edit(live, "/spec/suspend", False)], [])
        return Prepared(action=action, change=change)


register(ResumeCronJob())
