"""Containers that are throttled at their CPU limit."""

from __future__ import annotations

from decimal import Decimal

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_event, cite_release, events_of, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, own_subjects
from cortexops.domain.kubernetes import commands, pods
from cortexops.domain.kubernetes.values import amount, objects, text
from cortexops.domain.releases import release_of
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Scene
from cortexops.domain.signal import Signal

_EXPLAINS = (Category.READINESS_PROBE, Category.LIVENESS_PROBE)
_THROTTLED = ("cputhrottl", "cpu_throttl", "throttl")
_FULL = Decimal("0.9")  # of the limit


@analyzer("cpu_throttling")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    said = [s for s in scene.signals if any(word in s.name.lower() for word in _THROTTLED)]
    found: list[Hypothesis] = []
    for subject in own_subjects(scene):
        for _, pod in subject.pods[:1]:
            for container in objects(pod, "spec", "containers"):
                hypothesis = _of(scene, book, subject, container, said)
                if hypothesis is not None:
                    found.append(hypothesis)
    return found


def _of(
    scene: Scene, book: EvidenceBook, subject: Subject, container: JSON, said: list[Signal]
) -> Hypothesis | None:
    name = text(container, "name")
    limit = amount(container, "resources", "limits", "cpu")
    meant = [s for s in said if s.labels.get("container", name) == name]
    used = [
        m
        for m in scene.measured
        if m.what == "cpu_throttled_share" and m.container == name and m.value > 0.25
    ]
    full = [
        m for m in scene.measured
        if m.what == "cpu_cores" and m.container == name and limit and Decimal(str(m.value)) > limit * _FULL
    ]  # fmt: skip
    if limit is None or not (meant or used or full):
        return None
    shown = text(container, "resources", "limits", "cpu")
    evidence = [
        book.cite(
            EvidenceKind.CONFIG, subject.ref, f"container {name} has a CPU limit of {shown}",
            command=commands.show(subject.ref),
        )
    ]  # fmt: skip
    for signal in meant[:1]:
        evidence.append(
            book.cite(
                EvidenceKind.METRIC, subject.ref, f"the alert {signal.name} measured it: {signal.summary[:200]}",
                at=signal.started_at, command=f"{commands.show(subject.ref)}",
            )
        )  # fmt: skip
    for measure in (used or full)[:1]:
        evidence.append(book.cite(EvidenceKind.METRIC, measure.about, measure.says, at=measure.at))
    slow = [
        e
        for e in events_of(scene, subject, "Unhealthy")
        if "deadline exceeded" in e.message or "timeout" in e.message.lower()
    ]
    evidence += [cite_event(book, event) for event in slow[:1]]
    facts = {"container": name, "cpu_limit": shown}
    precedes, since = None, ""
    release = release_of(scene, subject)
    if release is not None and release.precedes(scene.onset):
        before = amount(pods.spec_of(release.before, name), "resources", "limits", "cpu")
        if before is None or before > limit:
            evidence.append(cite_release(book, subject, release))
            facts |= release.facts()
            precedes = True
            old = text(pods.spec_of(release.before, name), "resources", "limits", "cpu") or "none"
            since = f"; revision {release.revision} lowered it from {old}"
    return Hypothesis(
        resource=subject.ref,
        category=Category.CPU_THROTTLING,
        summary=f"container {name} of {subject.ref} is throttled at its CPU limit of {shown}{since}",
        support=support(subject, 0.9, precedes=precedes),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        container=name,
        facts=facts,
    )
