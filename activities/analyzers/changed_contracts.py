"""Callees that no longer offer what they are asked for, or callers that ask for what is not there, since a release."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_release, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import (
    Subject,
    complaints_about,
    is_troubled,
    log_lines,
    serves_badly,
    subjects,
)
from cortexops.domain.kubernetes import last_words
from cortexops.domain.kubernetes.contracts import limited, unlike
from cortexops.domain.releases import Release, release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import backing
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of

_SOON = timedelta(hours=2)
_SURE, _LATER, _BOTH = 0.85, 0.6, 0.6
_EXPLAINS = (Category.CRASH, Category.DEPENDENCY_DOWN, Category.READINESS_PROBE, Category.LIVENESS_PROBE)


@analyzer("changed_contracts")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    for caller in subjects(scene):
        if not (is_troubled(scene, caller) or serves_badly(scene)):
            continue
        for service in scene.topology.out(caller.ref, Relation.CALLS):
            said = _said(scene, caller, service)
            for ref in backing(scene, service) if said is not None else ():
                callee = subject_of(scene, ref, caller.distance + 2, caller.weight)
                hypothesis = _of(scene, book, caller, callee, *said) if said is not None else None
                if hypothesis is not None:
                    found.setdefault(hypothesis.resource, hypothesis)
    return list(found.values())


def _said(
    scene: Scene, caller: Subject, service: ResourceRef
) -> tuple[ResourceRef, str, bool, list[str]] | None:
    for pod, container, previous, lines in log_lines(scene, caller):
        said = complaints_about(scene, caller, service, lines)
        if told := unlike(said) or limited(said):
            return pod, container, previous, told
    return None


def _before(scene: Scene, subject: Subject) -> Release | None:
    """Its release, if it came before the trouble."""
    release = release_of(scene, subject)
    return (
        release if release is not None and release.at is not None and release.precedes(scene.onset) else None
    )


def _of(
    scene: Scene, book: EvidenceBook, caller: Subject, callee: Subject, pod: ResourceRef, container: str,
    previous: bool, said: list[str],
) -> Hypothesis | None:  # fmt: skip
    """Whoever of the two was released is at fault; where both were, the later, and less surely."""
    asks, offers = _before(scene, caller), _before(scene, callee)
    released = [(each, whose) for each, whose in ((asks, caller), (offers, callee)) if each is not None]
    released.sort(key=lambda each: each[0].at or scene.onset)
    release, subject = released[-1] if released else (None, caller)
    if release is None:
        return None
    both, by_callee = len(released) > 1, subject.ref == callee.ref
    soon = release.at is not None and scene.onset - release.at <= _SOON
    does = (
        f"{callee.ref} does not offer what {caller.ref} asks it for"
        if by_callee
        else f"{caller.ref} asks {callee.ref} for what it does not offer"
    )
    if limited(said):
        does = (
            f"{callee.ref} tells {caller.ref} to ask less often"
            if by_callee
            else f"{caller.ref} asks {callee.ref} too often"
        )
    return Hypothesis(
        resource=subject.ref,
        category=Category.BAD_ROLLOUT,
        summary=f"{does} since revision {release.revision} was released: “{last_words.telling(said)}”",
        support=support(subject, min(_BOTH if both else 1.0, _SURE if soon else _LATER), precedes=True),
        evidence=(
            cite_release(book, subject, release),
            cite_log(book, pod, container, previous, said, "tells of it"),
        ),
        explains=_EXPLAINS,
        facts=release.facts(),
    )
