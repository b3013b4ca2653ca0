"""Put a Deployment's earlier pod template back."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import edit
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import on_object
from cortexops.domain.kubernetes.meta import created
from cortexops.domain.kubernetes.values import mapping, number
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.words import counted
from cortexops.domain.workload import (
    REVISION,
    affected_workload,
    offered,
    patch_of,
    refused,
    runs_the_same,
    template_of,
)

_LONG = timedelta(minutes=10)
"""A release that was left alone for so long worked; deployments that fail are replaced sooner."""
_EFFECT = {
    Category.IMAGE_NOT_FOUND: 0.9,
    Category.IMAGE_PULL_DENIED: 0.6,
    Category.CRASH_SINCE_RELEASE: 0.85,
    Category.BAD_ROLLOUT: 0.85,
    Category.BAD_ENTRYPOINT: 0.85,
    Category.WRONG_ARCHITECTURE: 0.85,
    Category.INIT_CONTAINER_FAILED: 0.6,
    Category.READINESS_PROBE: 0.85,
    Category.LIVENESS_PROBE: 0.85,
    Category.CONFIG_MISSING: 0.6,
    Category.MEMORY_LEAK: 0.7,
    Category.OOM_AFTER_RELEASE: 0.6,
}


class RollbackRollout:
    spec = ActionSpec(
        type="rollback_rollout",
        title="Roll back",
        description="Replace the pod template by that of an earlier revision that is known to have been healthy. "
        "The pods are rolled.",
        risk=Risk.MEDIUM,
        reversible=True,
        kinds=("Deployment",),
        params={
            "to_revision": "the revision whose template is put back; an existing one below the present",
            "replica_set": "name of the ReplicaSet that holds it",
        },
        permissions=(
            Permission(group="apps", resource="deployments", verbs=("get", "patch")),
            Permission(group="apps", resource="replicasets", verbs=("get",)),
        ),
        criteria=("rollout_complete", "replicas_ready", "no_new_restarts"),
    )

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        cause = diagnosis.cause
        target = affected_workload(scene, diagnosis)
        if cause is None or cause.category not in _EFFECT or target is None or target.kind != "Deployment":
            return []
        found = on_object(self.spec, scene, target)
        if isinstance(found, list):
            return found
        action, live = found
        if mapping(live, "spec").get("paused"):
            return [
                refused(self.spec, action, Infeasible.ROLLOUT_PAUSED, f"the rollout of {target} is paused")
            ]
        present = mapping(live, "spec", "template")
        earlier = [
            (revision, ref, replica_set)
            for revision, ref, replica_set in scene.revisions(target)[1:]
            if not runs_the_same(live, replica_set)
        ]
        if not earlier:
            return [
                refused(
                    self.spec, action, Infeasible.NO_EARLIER_REVISION, f"{target} has no earlier revision"
                )
            ]
        chosen = _healthy(scene, target, earlier)
        if chosen is None:
            numbers = ", ".join(str(revision) for revision, _, _ in earlier)
            return [
                refused(
                    self.spec,
                    action,
                    Infeasible.NO_HEALTHY_REVISION,
                    f"nothing shows that an earlier revision of {target} was healthy ({numbers})",
                )
            ]
        (revision, ref, replica_set), evidence = chosen
        return [
            offered(
                self.spec,
                Action(
                    type=self.spec.type,
                    target=target,
                    params={"to_revision": revision, "replica_set": ref.name},
                ),
                effect=_EFFECT[cause.category],
                why=f"the trouble began with the present revision; revision {revision} {evidence}",
                radius=workload_radius(scene, target),
                commands=(
                    f"kubectl -n {shlex.quote(target.namespace)} rollout undo "
                    f"deployment/{shlex.quote(target.name)} --to-revision={revision}",
                ),
                caveats=("What the present revision brought is gone until it is rolled out again.",),
                before=mapping(present, "spec"),
                after=mapping(template_of(replica_set), "spec"),
                live=live,
            )
        ]

    def reads(self, action: Action) -> list[ResourceRef]:
        return [action.target.model_copy(update={"kind": "ReplicaSet", "name": action.text("replica_set")})]

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        (source,) = self.reads(action)
        wanted = action.whole_number("to_revision")
        replica_set = reads.get(source.key)
        if replica_set is None:
            raise Rejected(f"{source}, which holds revision {wanted}, is gone")
        owners = replica_set["metadata"].get("ownerReferences") or []
        if live["metadata"]["uid"] not in {owner.get("uid") for owner in owners}:
            raise Rejected(f"{source} does not belong to {action.target}")
        if number(replica_set, "metadata", "annotations", REVISION) != wanted:
            raise Rejected(f"{source} does not hold revision {wanted} (any more)")
        if wanted >= (present := number(live, "metadata", "annotations", REVISION)):
            raise Rejected(f"revision {wanted} is not below the present one, {present}")
        if runs_the_same(live, replica_set):
            raise Rejected(f"{action.target} runs what revision {wanted} ran: nothing would change")
        if live["spec"].get("paused"):
            raise Rejected(f"the rollout of {action.target} is paused")
        change = patch_of(live, action.target, [edit(live, "/spec/template", template_of(replica_set))], [])
        return Prepared(action=action, change=change, expected_replicas=int(live["spec"].get("replicas", 1)))


def _healthy(
    scene: Scene, target: ResourceRef, earlier: list[tuple[int, ResourceRef, JSON]]
) -> tuple[tuple[int, ResourceRef, JSON], str] | None:
    """The newest earlier revision that is known to have been healthy, and what shows it.

    Pods of it that are ready now show it; else that it stayed in service for long: nobody leaves a release
    that does not work. How long is known from when the next revision was made, which ended it.
    """
    for item in earlier:
        ready = number(item[2], "status", "readyReplicas")
        if ready:
            return item, f"still has {counted(ready, 'ready pod')}"
    born = [at for _, _, one in scene.revisions(target) if (at := created(one)) is not None]
    for item in earlier:
        began = created(item[2])
        ended = min((at for at in born if began is not None and at > began), default=None)
        if began is not None and ended is not None and ended - began >= _LONG:
            return item, f"was in service for {_span(ended - began)} before"
    return None


def _span(time: timedelta) -> str:
    minutes = int(time.total_seconds() // 60)
    if minutes < 120:
        return counted(minutes, "minute")
    return counted(minutes // 60, "hour") if minutes < 2880 else counted(minutes // 1440, "day")


register(RollbackRollout())
