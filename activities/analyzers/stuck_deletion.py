"""Objects that somebody deleted and that stay, because a finalizer waits: claims in use before all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_event, events_of, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, seen_until, subjects
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.references import claims
from cortexops.domain.kubernetes.values import mapping, words
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_PATIENCE = timedelta(minutes=5)
_OTHERS = ("Pod", "Namespace")  # looked at by analyzers of their own
_IN_USE = "kubernetes.io/pvc-protection"
_BEING_DELETED = "is being deleted"
"""What the scheduler says of a claim that no new pod may use any more."""
_SHOWN = 3


@analyzer("stuck_deletion")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    return [_of(scene, book, *each) for each in _stuck(scene)]


def _stuck(scene: Scene) -> Iterator[tuple[ResourceRef, JSON, Subject | None]]:
    """The target itself, and claims that keep a workload's new pods from being scheduled."""
    if scene.target.kind not in _OTHERS and _is_stuck(scene, scene.target):
        yield scene.target, scene.get(scene.target) or {}, None
    for subject in subjects(scene):
        said = " ".join(event.message for event in events_of(scene, subject, "FailedScheduling"))
        if _BEING_DELETED not in said:
            continue
        for ref, claim in scene.of_kind("PersistentVolumeClaim"):
            named = f'"{ref.name}"' in said and ref.namespace == subject.ref.namespace
            if named and ref != scene.target and meta.deleting_since(claim) is not None:
                yield ref, claim, subject


def _is_stuck(scene: Scene, ref: ResourceRef) -> bool:
    live = scene.get(ref) or {}
    due = meta.deleting_since(live)
    return (
        due is not None
        and bool(words(live, "metadata", "finalizers"))
        and seen_until(scene) - due > _PATIENCE
    )


def _of(
    scene: Scene, book: EvidenceBook, ref: ResourceRef, live: JSON, subject: Subject | None
) -> Hypothesis:
    finalizers = words(live, "metadata", "finalizers")
    evidence = [
        book.cite(
            EvidenceKind.STATUS,
            ref,
            f"{ref} was deleted and is still there: finalizers {', '.join(finalizers)}",
            at=meta.deleting_since(live),
            command=commands.show(ref),
        )
    ]
    users = sorted(_users(scene, ref), key=str) if _IN_USE in finalizers else []
    why = f"finalizer {', '.join(finalizers)} waits"
    if users:
        why += f": {', '.join(str(user) for user in users[:_SHOWN])} still use{'s' if len(users) == 1 else ''} it"
        evidence += [
            book.cite(EvidenceKind.CONFIG, user, f"{user} mounts {ref}", command=commands.show(user))
            for user in users[:_SHOWN]
        ]
    if subject is not None:
        evidence += [cite_event(book, e) for e in events_of(scene, subject, "FailedScheduling")[:1]]
    return Hypothesis(
        resource=ref,
        category=Category.FINALIZER_WAITS,
        summary=f"{ref} hangs in its deletion (terminating), {why}"
        + (f"; until then new pods of {subject.ref} may not use it" if subject is not None else ""),
        support=support(subject or Subject(ref, live, ()), 0.9, steps=1 if subject is not None else 0),
        evidence=tuple(evidence),
        explains=(Category.SCHEDULING, Category.VOLUME_UNBOUND, Category.BAD_ROLLOUT),
        facts={"finalizer": finalizers[0], **({"pod": users[0].name} if users else {})},
    )


def _users(scene: Scene, claim: ResourceRef) -> Iterator[ResourceRef]:
    """The pods that mount it: the controller waits for those that have not finished."""
    for ref, pod in scene.of_kind("Pod"):
        if (
            ref.namespace == claim.namespace
            and not pods.is_finished(pod)
            and claim.name in claims(mapping(pod, "spec"))
        ):
            yield ref
