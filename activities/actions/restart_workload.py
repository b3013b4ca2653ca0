"""Restart a workload's pods, one after the other, as `kubectl rollout restart` does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import edit, pointer
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import affected_workload, common_refusal, offered, patch_of

_RESTARTED_AT = pointer("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
_EFFECT = {
    Category.CRASH: 0.3,
    Category.MEMORY_LEAK: 0.4,
    Category.STUCK_POD: 0.4,
    Category.SECRET_CHANGED: 0.5,
}


class RestartWorkload:
    spec = ActionSpec(
        type="restart_workload",
        title="Restart",
        description="Roll all pods of a workload without changing anything else.",
        risk=Risk.LOW,
        reversible=True,
        kinds=("Deployment", "StatefulSet", "DaemonSet"),
        params={},
        permissions=(
            Permission(group="apps", resource="deployments", verbs=("get", "patch")),
            Permission(group="apps", resource="statefulsets", verbs=("get", "patch")),
            Permission(group="apps", resource="daemonsets", verbs=("get", "patch")),
        ),
        criteria=("rollout_complete", "replicas_ready", "no_new_restarts"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        cause = diagnosis.cause
        target = affected_workload(scene, diagnosis)
        if cause is None or cause.category not in _EFFECT or target is None:
            return []
        live = scene.get(target)
        action = Action(type=self.spec.type, target=target)
        refusal = common_refusal(self.spec, action, live)
        if refusal is not None:
            return [refusal]
        return [
            offered(
                self.spec,
                action,
                effect=_EFFECT[cause.category],
                why="fresh pods may clear the state that makes it fail",
                radius=workload_radius(scene, target),
                commands=(
                    f"kubectl -n {shlex.quote(target.namespace)} rollout restart "
                    f"{target.kind.lower()}/{shlex.quote(target.name)}",
                ),
                caveats=("A restart hides the evidence in the running pods; it does not remove the cause.",),
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        change = patch_of(live, action.target, [edit(live, _RESTARTED_AT, stamp)], [])
        return Prepared(action=action, change=change, expected_replicas=int(live["spec"].get("replicas", 0)))


register(RestartWorkload())
