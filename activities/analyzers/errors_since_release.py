"""Workloads whose pods are ready and whose answers are errors since they were rolled out."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_release, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import certificate_words, complaints, last_words
from cortexops.domain.kubernetes.contracts import asked_wrongly
from cortexops.domain.kubernetes.records import stuck_record
from cortexops.domain.neighbours import says_lost
from cortexops.domain.releases import image_facts, release_of, runs
from cortexops.domain.scene import Scene
from cortexops.domain.seen import backing
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of

_SOON = timedelta(hours=2)
_OFTEN = 3  # complaints


@analyzer("errors_since_release")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if not serves_badly(scene):
        return []
    return [
        found
        for subject in subjects(scene)
        for each in (_of, _refused, _alone, _asks_wrongly)
        if (found := each(scene, book, subject)) is not None
    ]


def _refused(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """A callee that refuses the subject's credentials since it was released itself, as one that asks for a
    password now; a subject that was released lately may have brought wrong ones."""
    own = release_of(scene, subject)
    if own is not None and own.precedes(scene.onset):
        return None
    for pod, container, previous, lines in log_lines(scene, subject):
        refused = complaints.about_credentials(lines)
        for service in scene.topology.out(subject.ref, Relation.CALLS) if refused else ():
            said = [line for line in refused if complaints.names(line, service.name)]
            for ref in backing(scene, service) if said else ():
                callee = Subject(
                    ref, scene.get(ref) or {}, tuple(scene.pods_of(ref)), subject.distance + 2, subject.weight
                )
                release = release_of(scene, callee)
                if release is None or release.at is None or not release.precedes(scene.onset):
                    continue
                return Hypothesis(
                    resource=ref,
                    category=Category.BAD_ROLLOUT,
                    summary=f"{ref} refuses what {subject.ref} signs in with since revision {release.revision} was"
                    f" released: “{last_words.telling(said)}”",
                    support=support(
                        callee, 0.85 if scene.onset - release.at <= _SOON else 0.6, precedes=True
                    ),
                    evidence=(
                        cite_release(book, callee, release),
                        cite_log(book, pod, container, previous, said, f"complains about {service.name}"),
                    ),
                    explains=(Category.CRASH, Category.DEPENDENCY_DOWN, Category.SECRET_CHANGED),
                    facts=release.facts(),
                )
    return None


def _alone(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """Ready pods that reach nobody at an address of their own, where a container answered until a release removed
    it."""
    release = release_of(scene, subject)
    if release is None or not release.precedes(scene.onset) or is_troubled(scene, subject):
        return None
    for pod, container, previous, lines in log_lines(scene, subject):
        lost = says_lost(release, lines) if runs(release, scene.get(pod) or {}) else ""
        if lost:
            said = complaints.unreachable(lines)
            return Hypothesis(
                resource=subject.ref,
                category=Category.BAD_ROLLOUT,
                summary=f"{subject.ref} answers with errors since revision {release.revision} was released:"
                f" “{last_words.telling(said)}”{lost}",
                support=support(subject, 0.9, precedes=True),
                evidence=(
                    cite_release(book, subject, release),
                    cite_log(book, pod, container, previous, said, "complains"),
                ),
                explains=(Category.CRASH, Category.DEPENDENCY_DOWN),
                container=container,
                facts=release.facts(),
            )
    return None


def _asks_wrongly(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """Ready pods that were released and whom those that they call answer since then as one who is asked wrongly.
    Where a callee was released as lately, the change may be its own."""
    release = release_of(scene, subject)
    if (
        release is None
        or release.at is None
        or not release.precedes(scene.onset)
        or is_troubled(scene, subject)
    ):
        return None
    for pod, container, previous, lines in log_lines(scene, subject):
        said = asked_wrongly(lines) if runs(release, scene.get(pod) or {}) and not previous else []
        if len(said) < _OFTEN:
            continue
        changed = [
            each.at
            for service in scene.topology.out(subject.ref, Relation.CALLS)
            for ref in backing(scene, service)
            if ref != subject.ref
            and (each := release_of(scene, subject_of(scene, ref))) is not None
            and each.precedes(scene.onset)
        ]
        direct = 0.8 if scene.onset - release.at <= _SOON else 0.6
        return Hypothesis(
            resource=subject.ref,
            category=Category.BAD_ROLLOUT,
            summary=f"{subject.ref} asks others for what they do not have since revision {release.revision} was"
            f" released: “{last_words.telling(said)}”",
            support=support(subject, min(direct, 0.45) if changed else direct, precedes=True),
            evidence=(
                cite_release(book, subject, release),
                cite_log(book, pod, container, previous, said, "tells how it is answered"),
            ),
            explains=(Category.CRASH,),
            container=container,
            facts=release.facts(),
        )
    return None


def _stuck(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """A consumer that gets no further than one record, which it cannot read."""
    for pod, container, previous, lines in log_lines(scene, subject):
        found = stuck_record(lines)
        if found is not None:
            return Hypothesis(
                resource=subject.ref,
                category=Category.CRASH,
                summary=f"{subject.ref} gets no further than one record or message ({found.at}), which it cannot read"
                f" and is given again and again: “{last_words.telling(found.lines)}”",
                support=support(subject, 0.85),
                evidence=(cite_log(book, pod, container, previous, found.lines, f"fails at {found.at}"),),
                container=container,
            )
    return None


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    if is_troubled(scene, subject):
        return None  # then there is more direct evidence
    release = release_of(scene, subject)
    own: list[str] = []
    evidence: list[str] = []
    container = ""
    for pod, its, previous, lines in log_lines(scene, subject):
        others = set(certificate_words.expired(lines))  # a certificate runs out by itself
        wrong = [line for line in complaints.own_fault(lines) if line not in others]
        if wrong and (release is None or runs(release, scene.get(pod) or {})):
            own, container = wrong, its
            evidence.append(cite_log(book, pod, its, previous, wrong, "complains"))
            break
    stuck = _stuck(scene, book, subject) if release is None or not release.precedes(scene.onset) else None
    if stuck is not None:
        return stuck
    if not own:
        return None
    said = f"“{last_words.telling(own)}”"
    if release is None or not release.precedes(scene.onset):
        return Hypothesis(
            resource=subject.ref,
            category=Category.CRASH,
            summary=f"{subject.ref} answers with errors of its own: {said}",
            support=support(subject, 0.6),
            evidence=tuple(evidence),
            container=container,
        )
    evidence.append(cite_release(book, subject, release))
    soon = release.at is not None and scene.onset - release.at <= _SOON
    return Hypothesis(
        resource=subject.ref,
        category=Category.BAD_ROLLOUT,
        summary=f"{subject.ref} answers with errors since revision {release.revision} was released: {said}",
        support=support(subject, 0.85 if soon else 0.6, precedes=True),
        evidence=tuple(evidence),
        explains=(Category.CRASH,),
        container=container,
        facts=release.facts() | image_facts(release, container, ""),
    )
