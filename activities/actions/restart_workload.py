"""Restart a workload's pods, one after the other, as `kubectl rollout restart` does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import edit, pointer
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis
from cortexops.domain.remedies import out_of_heap
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import affected_workload, common_refusal, offered, patch_of

_RESTARTED_AT = pointer("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
_HELD = (Category.SECRET_CHANGED, Category.CONFIGMAP_CHANGED)


class _Use(NamedTuple):
    """What a restart would do about a cause, and what people are told of it."""

    effect: float
    why: str
    caveat: str
    contains: bool


_FREED = (
    "A restart frees the memory and hides the evidence in the pods; it fills again until the cause is mended."
)
_READ = "Make sure first that the server expects the new value: the pods will use it from then on."


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
        target = _target(scene, diagnosis)
        if cause is None or target is None:
            return []
        use = _use(scene, cause, target)
        if use is None:
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
                effect=use.effect,
                why=use.why,
                radius=workload_radius(scene, target),
                commands=(
                    f"kubectl -n {shlex.quote(target.namespace)} rollout restart "
                    f"{target.kind.lower()}/{shlex.quote(target.name)}",
                ),
                caveats=(use.caveat,),
                live=live,
                contains=use.contains,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        change = patch_of(live, action.target, [edit(live, _RESTARTED_AT, stamp)], [])
        return Prepared(action=action, change=change, expected_replicas=int(live["spec"].get("replicas", 0)))


def _target(scene: Scene, diagnosis: Diagnosis) -> ResourceRef | None:
    """Who holds the old value of a configuration that changed; for anything else the workload at fault."""
    cause = diagnosis.cause
    if cause is None or cause.category not in _HELD:
        return affected_workload(scene, diagnosis)
    kind, name = cause.facts.get("holder_kind", ""), cause.facts.get("holder", "")
    return (
        scene.ref(kind, cause.resource.namespace, name)
        if kind in RestartWorkload.spec.kinds and name
        else None
    )


def _use(scene: Scene, cause: Hypothesis, target: ResourceRef) -> _Use | None:
    """What a restart does here; None where it does nothing, or harm.

    The kubelet starts a container that crashes anew by itself, and its pods read what they are given each time:
    rolling the workload does no more, and takes down the pods that still serve.
    """
    if cause.category in _HELD:
        return _Use(0.7, f"its pods hold the value of before; fresh ones read {cause.resource}", _READ, False)
    if cause.category is Category.MEMORY_LEAK:
        return _Use(0.4, "fresh pods have their memory free again for a while", _FREED, True)
    if cause.category is Category.CRASH and out_of_heap(scene, target, cause.container):
        why = f"{cause.container} used up its own heap; fresh pods have it free again for a while"
        return _Use(0.3, why, _FREED, True)
    return None


register(RestartWorkload())
