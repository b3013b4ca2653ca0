"""A consumer that does not understand what it gets since somebody who sends it was released."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_release, support
from cortexops.domain.databases import configs_of
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import (
    Subject,
    is_troubled,
    log_lines,
    own_subjects,
    serves_badly,
    template_spec,
)
from cortexops.domain.kubernetes import last_words
from cortexops.domain.kubernetes.records import misread
from cortexops.domain.queues import queues_of, seems_reader, sends_to, told_queues
from cortexops.domain.releases import Release, release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.restarted import written_at
from cortexops.domain.scene import Scene
from cortexops.domain.troubles import subject_of

_LATELY = timedelta(hours=24)
_SLACK = timedelta(minutes=2)
_TOLD, _NAMED = 0.9, 0.75
_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.DEPENDENCY_DOWN, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE,
)  # fmt: skip


class _Sender(NamedTuple):
    """Who sends to the queue, its release, and where its log tells that it sends."""

    subject: Subject
    queue: str
    release: Release
    told: tuple[ResourceRef, str, bool, list[str]] | None


@analyzer("changed_messages")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found = []
    for consumer in own_subjects(scene):
        if not is_troubled(scene, consumer) and not serves_badly(scene):
            continue
        said = next(
            (
                (pod, container, previous, wrong)
                for pod, container, previous, lines in log_lines(scene, consumer)
                if (wrong := misread(lines))
            ),
            None,
        )
        own = release_of(scene, consumer)
        if said is None or (own is not None and own.at is not None and _fits(scene, own.at, None)):
            continue  # it was released itself: then it may be the one that changed
        senders = _senders(scene, consumer, written_at(said[3][0]))
        if len(senders) == 1:
            found.append(_of(book, consumer, said, senders[0]))
    return found


def _senders(scene: Scene, consumer: Subject, first: datetime | None) -> list[_Sender]:
    """Those that name one of the consumer's queues, are no readers of it, and were released shortly before."""
    reads = {each.queue for each in queues_of(template_spec(consumer), configs_of(scene, consumer))}
    reads |= told_queues(signal.labels for signal in scene.signals)
    found = []
    for kind in ("Deployment", "StatefulSet", "Rollout"):
        for ref, _ in scene.of_kind(kind):
            if ref == consumer.ref or ref.namespace != consumer.ref.namespace:
                continue
            other = subject_of(scene, ref, consumer.distance, consumer.weight)
            configs = configs_of(scene, other)
            shared = {each.queue for each in queues_of(template_spec(other), configs)} & reads
            release = release_of(scene, other) if shared else None
            if release is None or release.at is None or not _fits(scene, release.at, first):
                continue
            queue = sorted(shared)[0]
            told = _tells(scene, other, shared)
            if told is not None or not seems_reader(template_spec(other), configs):
                found.append(_Sender(other, queue, release, told))
    return found


def _tells(
    scene: Scene, sender: Subject, queues: set[str]
) -> tuple[ResourceRef, str, bool, list[str]] | None:
    for pod, container, previous, lines in log_lines(scene, sender):
        for queue in sorted(queues):
            if sends := sends_to(queue, lines):
                return pod, container, previous, sends
    return None


def _fits(scene: Scene, at: datetime, first: datetime | None) -> bool:
    """Whether a release came shortly before the trouble, and not after the first message that was not understood."""
    if scene.clocks_apart:
        return at <= scene.onset
    return scene.onset - _LATELY <= at <= scene.onset + _SLACK and (first is None or at <= first + _SLACK)


def _of(
    book: EvidenceBook, consumer: Subject, said: tuple[ResourceRef, str, bool, list[str]], sender: _Sender
) -> Hypothesis:
    evidence = [cite_release(book, sender.subject, sender.release)]
    evidence.append(cite_log(book, *said, "tells that it does not understand what it gets"))
    if sender.told is not None:
        evidence.append(cite_log(book, *sender.told, f"tells that it sends to {sender.queue}"))
    return Hypothesis(
        resource=sender.subject.ref,
        category=Category.BAD_ROLLOUT,
        summary=f"{consumer.ref} does not understand what {sender.subject.ref} sends to {sender.queue} since revision"
        f" {sender.release.revision} was released: “{last_words.telling(said[3])}”",
        support=support(consumer, _TOLD if sender.told is not None else _NAMED, precedes=True, steps=1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts=sender.release.facts(),
    )
