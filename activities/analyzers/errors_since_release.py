"""Workloads whose pods are ready and whose answers are errors since they were rolled out."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_release, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import complaints, last_words
from cortexops.domain.releases import image_facts, release_of, runs
from cortexops.domain.scene import Scene

_SOON = timedelta(hours=2)


@analyzer("errors_since_release")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if not serves_badly(scene):
        return []
    return [found for subject in subjects(scene) if (found := _of(scene, book, subject)) is not None]


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    if is_troubled(scene, subject):
        return None  # then there is more direct evidence
    release = release_of(scene, subject)
    own: list[str] = []
    evidence: list[str] = []
    container = ""
    for pod, its, previous, lines in log_lines(scene, subject):
        wrong = complaints.own_fault(lines)
        if wrong and (release is None or runs(release, scene.get(pod) or {})):
            own, container = wrong, its
            evidence.append(cite_log(book, pod, its, previous, wrong, "complains"))
            break
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
