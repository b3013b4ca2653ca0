"""Put a Deployment's earlier pod template back."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta

from activities.actions import register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.blast import workload_radius
from cortexops.domain.change import edit
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis
from cortexops.domain.errors import Rejected
from cortexops.domain.fitting import on_object
from cortexops.domain.kubernetes.meta import created
from cortexops.domain.kubernetes.values import mapping, number
from cortexops.domain.remedies import (
    grows_slowly,
    migrations,
    names,
    not_of_the_release,
    waits_for_a_lock,
)
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
    Category.MEMORY_LEAK: 0.7,
    Category.OOM_AFTER_RELEASE: 0.6,
}
_SINCE = {
    Category.SCHEDULING: 0.85,
    Category.ADMISSION_DENIED: 0.85,
    Category.RBAC_DENIED: 0.85,
    Category.CONNECTION_SATURATION: 0.7,
    Category.OOM_LIMIT_TOO_LOW: 0.87,
    Category.CPU_THROTTLING: 0.85,
}
"""Causes that a rollback mends only where the diagnosis says that a release of this very workload brought them."""
_MISSING = {
    Category.CONFIG_MISSING: 0.6,
    Category.VOLUME_UNBOUND: 0.6,
    Category.SERVICE_ACCOUNT_MISSING: 0.6,
}
"""Something is not there: a rollback mends it only where the revision before did not ask for it."""
_WRONG_LOCK = (
    "a lock that somebody else holds ({}): going back leaves it held, and the next release waits again"
)
_SCHEMA = (
    "{} may have changed the database already, and that stays: make sure first that the earlier revision works "
    "with what it finds there."
)


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
        target = _target(scene, diagnosis)
        if cause is None or target is None or target.kind != "Deployment" or not _fits(cause, target):
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
        against = not_of_the_release(scene, cause, target, live)
        lock = waits_for_a_lock(scene, cause.container) if cause.container else ""
        if lock:
            against = f"{cause.container} waits for " + _WRONG_LOCK.format(lock.strip()[:120])
        if against:
            return [refused(self.spec, action, Infeasible.NOT_THE_CAUSE, against)]
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
        before = template_of(replica_set)
        if cause.category in _MISSING and _named(cause, before):
            why = f"revision {revision} of {target} asks for {cause.resource} as well"
            return [refused(self.spec, action, Infeasible.NOT_THE_CAUSE, why)]
        schema = migrations(present, before)
        made = self._offer(scene, cause, target, live, revision, ref, before, evidence)
        if not schema:
            return [made]
        caveats = (*made.caveats, _SCHEMA.format(f"Init container {', '.join(schema)}"))
        return [made.model_copy(update={"risk": Risk.HIGH, "caveats": caveats})]

    def _offer(
        self, scene: Scene, cause: Hypothesis, target: ResourceRef, live: JSON, revision: int, ref: ResourceRef,
        before: JSON, evidence: str,
    ) -> Candidate:  # fmt: skip
        return offered(
            self.spec,
            Action(
                type=self.spec.type,
                target=target,
                params={"to_revision": revision, "replica_set": ref.name},
            ),
            effect=_effect(scene, cause, target),
            why=f"the trouble began with the present revision; revision {revision} {evidence}",
            radius=workload_radius(scene, target),
            commands=(
                f"kubectl -n {shlex.quote(target.namespace)} rollout undo "
                f"deployment/{shlex.quote(target.name)} --to-revision={revision}",
            ),
            caveats=("What the present revision brought is gone until it is rolled out again.",),
            before=mapping(live, "spec", "template", "spec"),
            after=mapping(before, "spec"),
            live=live,
        )

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


def _target(scene: Scene, diagnosis: Diagnosis) -> ResourceRef | None:
    """The workload at fault: of a thing that is missing, the one that asks for it, whoever complained."""
    cause, affected = diagnosis.cause, affected_workload(scene, diagnosis)
    if cause is None or cause.category not in _MISSING or cause.resource.kind == "Deployment":
        return affected
    asking = [
        ref
        for ref, live in scene.of_kind("Deployment")
        if ref.namespace == cause.resource.namespace and _named(cause, mapping(live, "spec", "template"))
    ]
    return affected if affected in asking or not asking else asking[0] if len(asking) == 1 else None


def _fits(cause: Hypothesis, target: ResourceRef) -> bool:
    if cause.category in _SINCE:
        return bool(cause.facts.get("previous_revision")) and cause.resource == target
    return cause.category in _EFFECT or cause.category in _MISSING


def _effect(scene: Scene, cause: Hypothesis, target: ResourceRef) -> float:
    """How likely it is to mend the cause; before more memory where that grew without end since the release."""
    if cause.category is Category.OOM_AFTER_RELEASE and grows_slowly(scene, target, cause.container):
        return 0.85
    return {**_EFFECT, **_SINCE, **_MISSING}[cause.category]


def _named(cause: Hypothesis, template: JSON) -> bool:
    """Whether the template asks for what is missing: the object, or the key in it."""
    return names(template, cause.resource.name, cause.facts.get("key", ""))


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
