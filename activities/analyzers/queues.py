"""Consumers that have nothing to do since those who send to them, or they themselves, were given another queue."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_log, cite_release, cite_write, support
from cortexops.domain.databases import configs_of
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, log_lines, own_subjects, template_spec
from cortexops.domain.kubernetes import commands, complaints, last_words, meta
from cortexops.domain.kubernetes.references import config_uses
from cortexops.domain.kubernetes.values import mapping, texts
from cortexops.domain.queues import Named, alerts_idle, alike, idle, queues_of, unroutable
from cortexops.domain.releases import release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.troubles import subject_of

_LATELY = timedelta(hours=24)
_SLACK = timedelta(minutes=2)
_TOLD, _MISMATCH = 0.92, 0.72
_EXPLAINS = (Category.CRASH, Category.DEPENDENCY_DOWN, Category.BAD_ROLLOUT)


@analyzer("queues")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    for consumer in own_subjects(scene):
        quiet = _quiet(scene, consumer)
        reads = {each.queue for each in _queues(scene, consumer)}
        others = [
            subject_of(scene, ref)
            for kind in ("Deployment", "StatefulSet")
            for ref, _ in scene.of_kind(kind)
            if ref.namespace == consumer.ref.namespace and ref != consumer.ref
        ]
        for producer in others if quiet is not None and reads else ():
            writes = {each.queue for each in _queues(scene, producer)}
            rest = {
                each.queue for other in others if other.ref != producer.ref for each in _queues(scene, other)
            }
            for changed, held, elsewhere in (
                (producer, writes - rest, reads), (consumer, reads - rest, writes),
            ):  # fmt: skip
                hypothesis = _of(
                    scene, book, consumer, producer, changed, held - elsewhere, elsewhere, quiet or []
                ) or _released(scene, book, consumer, changed, elsewhere, quiet or [])
                if hypothesis is not None:
                    found.setdefault(hypothesis.resource, hypothesis)
    return list(found.values())


def _quiet(scene: Scene, consumer: Subject) -> list[tuple[ResourceRef, str, bool, list[str]]] | None:
    """Logs in which the consumer tells that it has nothing to do; None where neither they nor an alert do."""
    told: list[tuple[ResourceRef, str, bool, list[str]]] = [
        (pod, container, previous, said)
        for pod, container, previous, lines in log_lines(scene, consumer)
        if not previous and (said := idle(lines[-5:]))
    ]
    alerted = any(alerts_idle(signal.name, signal.summary) for signal in scene.signals)
    return told if told or alerted else None


def _queues(scene: Scene, subject: Subject) -> list[Named]:
    return queues_of(template_spec(subject), configs_of(scene, subject))


def _released(
    scene: Scene, book: EvidenceBook, consumer: Subject, changed: Subject, elsewhere: set[str],
    quiet: list[tuple[ResourceRef, str, bool, list[str]]],
) -> Hypothesis | None:  # fmt: skip
    """A release of `changed` that named another queue in place of one that the other still has."""
    release = release_of(scene, changed)
    if release is None or not release.precedes(scene.onset):
        return None
    configs = configs_of(scene, changed)
    former = {each.queue for each in queues_of(mapping(release.before, "spec"), configs)}
    present = {each.queue for each in queues_of(mapping(release.after, "spec"), configs)}
    left, taken = sorted((former - present) & elsewhere), sorted(present - former - elsewhere)
    if not left or not taken:
        return None
    does = "reads from" if changed.ref == consumer.ref else "sends to"
    return Hypothesis(
        resource=changed.ref,
        category=Category.BAD_ROLLOUT,
        summary=f"{changed.ref} {does} {taken[0]} instead of {left[0]} since revision {release.revision} was released;"
        f" the other end still has {left[0]}",
        support=support(consumer, _TOLD if quiet else _MISMATCH, precedes=True, steps=1),
        evidence=(
            cite_release(book, changed, release),
            *(cite_log(book, *each, "tells that it has nothing to do") for each in quiet[:1]),
        ),
        explains=_EXPLAINS,
        facts=release.facts(),
    )


def _of(
    scene: Scene, book: EvidenceBook, consumer: Subject, producer: Subject, changed: Subject, held: set[str],
    elsewhere: set[str], quiet: list[tuple[ResourceRef, str, bool, list[str]]],
) -> Hypothesis | None:  # fmt: skip
    """A ConfigMap of `changed` in which the name of a queue was changed lately to one that the other has not."""
    for use in config_uses(template_spec(changed)):
        ref = scene.ref(use.kind, changed.ref.namespace, use.name)
        live = scene.get(ref) or {}
        born = meta.created(live)
        for key, write in meta.key_writes(live).items() if use.kind == "ConfigMap" else ():
            lately = scene.onset - _LATELY <= write.at <= scene.onset + _SLACK
            if born is None or (
                write.at <= born if scene.clocks_apart else write.at - born <= _SLACK or not lately
            ):
                continue
            value = texts(live, "data").get(key, "")
            now = next(iter(sorted(queue for queue in held if queue in value)), "")
            was = next(iter(sorted(queue for queue in elsewhere if alike(queue, now))), "") if now else ""
            if not was:
                continue
            evidence = [
                cite_write(
                    book, ref, f"key {key} of {ref} was changed", write, excerpt=f"{key}: {value[:200]}"
                ),
                book.cite(
                    EvidenceKind.CONFIG,
                    consumer.ref if changed.ref == producer.ref else producer.ref,
                    f"{consumer.ref if changed.ref == producer.ref else producer.ref} uses {was}",
                    command=commands.show(consumer.ref),
                ),
            ]
            evidence += [cite_log(book, *each, "tells that it has nothing to do") for each in quiet[:1]]
            direct, says = _MISMATCH, ""
            for pod, container, previous, lines in log_lines(scene, producer):
                said = [line for line in unroutable(lines) if complaints.names(line, now)] or unroutable(
                    lines
                )
                if said:
                    evidence.append(
                        cite_log(book, pod, container, previous, said, "tells that nobody takes it")
                    )
                    direct, says = _TOLD, f": “{last_words.quoted(said[-1])}”"
                    break
            does = "sends to" if changed.ref == producer.ref else "reads from"
            other = f"{consumer.ref} reads" if changed.ref == producer.ref else f"{producer.ref} sends to"
            return Hypothesis(
                resource=ref,
                category=Category.CONFIGMAP_CHANGED,
                summary=f"key {key} of {ref} was changed at {write.at:%Y-%m-%d %H:%M:%S} UTC{by_whom(write)}:"
                f" {changed.ref} {does} {now} since, while {other} {was}{says}",
                support=support(consumer, direct, precedes=True, steps=1),
                evidence=tuple(evidence),
                explains=_EXPLAINS,
                facts={"configmap": ref.name, "key": key, "changed_at": write.at.isoformat()},
            )
    return None
