"""Stop a rollout half way: no more pods of the present revision, those of before go on serving."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import replica_count, workload_radius
from cortexops.domain.change import edit
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import named, on_object
from cortexops.domain.kubernetes.values import mapping, number
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import affected_workload, offered, patch_of, refused

_FITS = (
    Category.BAD_ROLLOUT, Category.IMAGE_NOT_FOUND, Category.CRASH_SINCE_RELEASE, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.BAD_ENTRYPOINT, Category.WRONG_ARCHITECTURE, Category.OOM_AFTER_RELEASE,
)  # fmt: skip


class PauseRollout:
    spec = ActionSpec(
        type="pause_rollout",
        title="Pause rollout",
        description="Stop a Deployment's rollout where it is. Pods stay as they are; nothing is mended.",
        risk=Risk.LOW,
        reversible=True,
        kinds=("Deployment",),
        params={},
        permissions=(Permission(group="apps", resource="deployments", verbs=("get", "patch")),),
        criteria=("change_in_place",),
        contains_only=True,
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        cause, target = diagnosis.cause, affected_workload(scene, diagnosis)
        if cause is None or cause.category not in _FITS or target is None or target.kind != "Deployment":
            return []
        found = on_object(self.spec, scene, target)
        if isinstance(found, list):
            return found
        action, live = found
        if _paused(live):
            return [
                refused(self.spec, action, Infeasible.ROLLOUT_PAUSED, f"the rollout of {target} is paused")
            ]
        if not _under_way(live):
            return [
                refused(
                    self.spec, action, Infeasible.NOTHING_TO_CHANGE, f"no rollout of {target} is under way"
                )
            ]
        return [
            offered(
                self.spec,
                action,
                effect=0.25,
                why="pods of the revision before still serve; pausing keeps them while people look",
                radius=workload_radius(scene, target),
                commands=(f"kubectl rollout pause {named(target)}",),
                caveats=("Nothing is rolled out, not even a mended version, until it is resumed.",),
                before={"paused": False},
                after={"paused": True},
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        if _paused(live):
            raise Rejected(f"the rollout of {action.target} is paused already")
        change = patch_of(live, action.target, [edit(live, "/spec/paused", True)], [])
        return Prepared(action=action, change=change)


def _paused(live: JSON) -> bool:
    return bool(mapping(live, "spec").get("paused"))


def _under_way(live: JSON) -> bool:
    """Some pods run the present revision, and some do not or are not ready."""
    wanted = replica_count(live)
    total, updated = number(live, "status", "replicas"), number(live, "status", "updatedReplicas")
    return total > updated or 0 < updated < wanted


register(PauseRollout())
