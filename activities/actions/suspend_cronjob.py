"""Keep a CronJob from starting more jobs."""

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
from cortexops.domain.kubernetes.values import mapping, objects
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import offered, patch_of, refused


class SuspendCronJob:
    spec = ActionSpec(
        type="suspend_cronjob",
        title="Suspend CronJob",
        description="Keep a CronJob from starting more jobs. Those that run go on; nothing is mended.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("CronJob",),
        params={},
        permissions=(Permission(group="batch", resource="cronjobs", verbs=("get", "patch")),),
        criteria=("change_in_place",),
        contains_only=True,
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        fits = (Category.JOB_FAILED, Category.JOB_DEADLINE_EXCEEDED)
        found = on_cause(self.spec, scene, diagnosis, *fits)
        if isinstance(found, list):
            return found
        action, live = found
        target = action.target
        if mapping(live, "spec").get("suspend"):
            return [
                refused(self.spec, action, Infeasible.NOTHING_TO_CHANGE, f"{target} is suspended already")
            ]
        if objects(live, "status", "active"):
            why = f"a run of {target} is under way; suspending it ends none, and people look at that one"
            return [refused(self.spec, action, Infeasible.NOT_THE_CAUSE, why)]
        return [
            offered(
                self.spec,
                action,
                effect=0.2,
                why="its jobs fail; suspended, it starts no more of them until a person has looked",
                radius=workload_radius(scene, target, replicas=0),
                commands=(
                    f"kubectl -n {shlex.quote(target.namespace)} patch cronjob {shlex.quote(target.name)} "
                    """--type merge -p '{"spec":{"suspend":true}}'""",
                ),
                caveats=("Runs that are due meanwhile are not made; it has to be resumed by somebody.",),
                before={"suspend": False},
                after={"suspend": True},
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        if mapping(live, "spec").get("suspend"):
            raise Rejected(f"{action.target} is suspended already")
        change = patch_of(live, action.target, [edit(live, "/spec/suspend", True)], [])
        return Prepared(action=action, change=change)


register(SuspendCronJob())
