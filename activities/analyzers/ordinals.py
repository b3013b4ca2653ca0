"""StatefulSets that wait for one pod before they make or change the next."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_release, cite_replicas, cite_waiting, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, log_lines, subjects, troubles
from cortexops.domain.kubernetes import commands, complaints, last_words, meta, pods
from cortexops.domain.kubernetes.values import number, text
from cortexops.domain.releases import release_of
from cortexops.domain.scene import Scene


@analyzer("ordinals")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    return [found for subject in subjects(scene) if (found := _of(scene, book, subject)) is not None]


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    if subject.ref.kind != "StatefulSet" or text(subject.obj, "spec", "podManagementPolicy") == "Parallel":
        return None
    wanted, ready = pods.wanted_replicas(subject.obj), pods.ready_replicas(subject.obj)
    stuck = sorted(
        ((ref, pod) for ref, pod in subject.pods if pods.is_unready(pod)), key=lambda item: item[0].name
    )
    behind = (
        wanted > len(subject.pods)
        or number(subject.obj, "status", "updatedReplicas", default=wanted) < wanted
    )
    if ready >= wanted or not stuck or not behind:
        return None
    ref, pod = stuck[0]
    since = meta.condition(pod, "Ready").since
    evidence = [
        book.cite(
            EvidenceKind.STATUS, ref, f"{ref} is not ready, and the StatefulSet makes its pods in order",
            at=since, command=commands.describe(ref),
        ),
        cite_replicas(book, subject, ready, wanted),
    ]  # fmt: skip
    evidence += [cite_waiting(book, t) for t in troubles(scene, subject) if t.pod == ref and t.state.waiting]
    said = ""
    for its, container, previous, lines in log_lines(scene, subject):
        wrong = complaints.complaining(lines)
        if its == ref and wrong:
            evidence.append(cite_log(book, its, container, previous, wrong, "complains"))
            said = f", saying “{last_words.telling(wrong)}”"
            break
    release = release_of(scene, subject)
    precedes, facts, when = None, {"pod": ref.name}, ""
    if release is not None and release.precedes(scene.onset):
        evidence.append(cite_release(book, subject, release))
        precedes, when = True, f" since revision {release.revision}"
        facts |= release.facts()
    direct = 0.8 if precedes or said else 0.6
    return Hypothesis(
        resource=subject.ref,
        category=Category.STATEFULSET_STUCK,
        summary=f"{subject.ref} is stuck on {ref}{when}, which does not become ready{said}",
        support=support(subject, direct, precedes=precedes),
        evidence=tuple(evidence),
        explains=(Category.BAD_ROLLOUT, Category.READINESS_PROBE),
        facts=facts,
    )
