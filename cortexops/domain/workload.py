"""Reading workloads for remedies: containers, revisions, and changes made of them."""

from __future__ import annotations

import copy

from cortexops.domain.action import Action, ActionSpec, BlastRadius, Candidate, Infeasible, Risk
from cortexops.domain.blast import gitops_owner
from cortexops.domain.change import Change, FieldEdit, Verb, holds, same
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import Rejected
from cortexops.domain.kubernetes import commands
from cortexops.domain.kubernetes.values import dig, mapping, text
from cortexops.domain.ownership import caveats_of, maker_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.snapshot import shown
from cortexops.domain.topology import Relation

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_MADE = (*WORKLOADS, "ConfigMap", "Secret", "CronJob", "HorizontalPodAutoscaler", "PersistentVolumeClaim")
"""Kinds that operators make and keep as they want them. Pods of theirs are made anew when they go."""
REVISION = "deployment.kubernetes.io/revision"
TEMPLATE_HASH = "pod-template-hash"


def affected_workload(scene: Scene, diagnosis: Diagnosis) -> ResourceRef | None:
    """The workload to mend: the cause's own object, or the one that the cause makes suffer."""
    cause = diagnosis.cause
    for ref in (cause.resource if cause else None, diagnosis.target):
        if ref is None:
            continue
        if ref.kind in WORKLOADS:
            return ref
        if ref.kind in ("Pod", "ReplicaSet"):
            for owner in _owners(scene, ref):
                if owner.kind in WORKLOADS:
                    return owner
    return None


def _owners(scene: Scene, ref: ResourceRef) -> list[ResourceRef]:
    chain: list[ResourceRef] = []
    seen = {ref}
    here = [ref]
    while here:
        above = [
            owner
            for child in here
            for owner in scene.topology.into(child, Relation.OWNS)
            if owner not in seen
        ]
        seen.update(above)
        chain += above
        here = above
    return chain


def container_index(live: JSON, name: str) -> int:
    """The container's place in the pod template. Raises `Rejected` when it is not there."""
    containers = dig(live, "spec", "template", "spec", "containers")
    for index, container in enumerate(containers if isinstance(containers, list) else []):
        if text(container, "name") == name:
            return index
    raise Rejected(f"the workload has no container {name!r} (any more)")


def patch_of(live: JSON, target: ResourceRef, edits: list[FieldEdit], expect: list[FieldEdit]) -> Change:
    """A patch of the live object that is bound to its uid and generation.

    Raises `Rejected` when Git owns the object (its controller would revert the change) or nothing changes.
    """
    mark = gitops_owner(live)
    if mark:
        raise Rejected(f"{target} is managed from Git ({mark}): change it there")
    maker = maker_of(live) if target.kind in _MADE else ""
    if maker:
        raise Rejected(f"{target} is made by {maker}, whose controller would put it back: change that")
    if all(holds(live, field.path, field.after_present, field.after) for field in edits):
        raise Rejected(f"{target} is like that already: nothing would change")
    metadata = live["metadata"]
    return Change(
        verb=Verb.PATCH,
        target=target,
        uid=metadata["uid"],
        generation=metadata.get("generation"),
        edits=tuple(edits),
        expect=tuple(expect),
    )


def scaled_by(change: Change) -> ResourceRef | None:
    """The workload that an autoscaler sets the replicas of, by what a change of the autoscaler rests on."""
    if change.target.kind != "HorizontalPodAutoscaler":
        return None
    said = {field.path: field.before for field in change.expect}
    kind, name = (str(said.get(f"/spec/scaleTargetRef/{part}") or "") for part in ("kind", "name"))
    if kind not in WORKLOADS or not name:
        return None
    return change.target.model_copy(update={"kind": kind, "name": name})


def template_of(replica_set: JSON) -> JSON:
    """The pod template of a revision, without the label that the controller adds."""
    template: JSON = copy.deepcopy(mapping(replica_set, "spec", "template"))
    mapping(template, "metadata", "labels").pop(TEMPLATE_HASH, None)
    return template


def runs_the_same(live: JSON, replica_set: JSON) -> bool:
    """Whether the revision's pods are those that the workload asks for now."""
    return same(_plain(mapping(live, "spec", "template")), _plain(template_of(replica_set)))


def _plain(template: JSON) -> JSON:
    """Without the creation time, which is always empty in a template and not always written."""
    metadata = {k: v for k, v in mapping(template, "metadata").items() if k != "creationTimestamp"}
    return {**template, "metadata": metadata}


def refused(spec: ActionSpec, action: Action, why: Infeasible, text: str) -> Candidate:
    """A candidate that code refuses to offer, with the reason."""
    return Candidate(
        action=action,
        risk=spec.risk,
        reversible=spec.reversible,
        feasible=False,
        why=text,
        infeasible=why,
        expected_effect=0,
        commands=(commands.describe(action.target),),
    )


def common_refusal(spec: ActionSpec, action: Action, live: JSON | None) -> Candidate | None:
    """Reasons that hold for every change of a workload: it is gone, or Git owns it."""
    if live is None:
        return refused(spec, action, Infeasible.OBJECT_GONE, f"{action.target} was not found")
    mark = gitops_owner(live)
    if mark:
        return refused(
            spec,
            action,
            Infeasible.OWNED_BY_GITOPS,
            f"{action.target} is managed from Git ({mark}): change it there",
        )
    maker = maker_of(live) if action.target.kind in _MADE else ""
    if maker:
        why = f"{action.target} is made by {maker}, whose controller would put it back: change that"
        return refused(spec, action, Infeasible.SET_BY_ANOTHER, why)
    return None


def offered(
    spec: ActionSpec,
    action: Action,
    *,
    effect: float,
    why: str,
    radius: BlastRadius,
    commands: tuple[str, ...],
    caveats: tuple[str, ...] = (),
    before: object = None,
    after: object = None,
    live: JSON | None = None,
    contains: bool = False,
) -> Candidate:
    """A feasible candidate; `before` and `after` are parts of the object, to show what is planned.

    Secrets in them are masked. Of `live`, what Helm wrote is said with the caveats. `contains`: against this
    cause it stops the damage at most, whatever it does against others.
    Whatever touches a stateful workload is a high risk (seed 002 names database restarts).
    """
    return Candidate(
        action=action,
        risk=Risk.HIGH if radius.stateful else spec.risk,
        reversible=spec.reversible,
        contains_only=spec.contains_only or contains,
        feasible=True,
        why=why,
        expected_effect=effect,
        commands=commands,
        caveats=(*caveats, *(caveats_of(live) if live else ())),
        blast_radius=radius,
        planned=shown(before, after),
    )
