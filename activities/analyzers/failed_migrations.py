"""Programs that miss a table or a column which a Job was to make that failed, or which one has taken away."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_complaint, cite_condition, cite_log, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, alerted_at, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import commands, last_words, meta, pods, schemas
from cortexops.domain.kubernetes.values import mapping, number
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.restarted import written_at
from cortexops.domain.scene import Scene
from cortexops.domain.troubles import subject_of

_LATELY = timedelta(hours=24)
_NAMED, _BESIDE, _TAKEN = 0.93, 0.75, 0.93
_SLACK = timedelta(minutes=2)
_EXPLAINS = (
    Category.BAD_ROLLOUT, Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN,
)  # fmt: skip


@analyzer("failed_migrations")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    for subject in subjects(scene):
        if subject.ref.kind in ("Job", "CronJob") or not (is_troubled(scene, subject) or serves_badly(scene)):
            continue
        for pod, container, previous, lines in log_lines(scene, subject):
            missed = schemas.lacks(lines)
            taker = _took(scene, subject, missed) if missed else None
            if taker is not None:
                cited = cite_log(book, pod, container, previous, missed, "misses what a migration took away")
                found.setdefault(taker.ref, _of_taker(book, subject, taker, missed, cited))
                break
            job = _failed(scene, subject) if missed else None
            if job is not None:
                cited = cite_log(book, pod, container, previous, missed, "misses what a migration makes")
                found.setdefault(job[0], _of(scene, book, subject, *job, missed, cited))
                break
    return list(found.values())


class _Taker(NamedTuple):
    """A Job that has changed a schema, when it was done, and where its log tells that it took something away."""

    ref: ResourceRef
    at: datetime
    pod: ResourceRef
    container: str
    lines: list[str]


def _took(scene: Scene, subject: Subject, missed: list[str]) -> _Taker | None:
    """A Job of the namespace that was done before the first complaint, and tells that it removed what is missed."""
    names = schemas.things(missed)
    first = written_at(missed[0])
    for ref, job in scene.of_kind("Job"):
        at = meta.condition(job, "Complete").since
        if (
            ref.namespace != subject.ref.namespace
            or meta.condition(job, "Complete").status != "True"
            or at is None
        ):
            continue
        if at > alerted_at(scene) or (
            not scene.clocks_apart
            and (at < scene.onset - _LATELY or (first is not None and at > first + _SLACK))
        ):
            continue
        for pod, container, previous, lines in log_lines(scene, subject_of(scene, ref)):
            told = [line for line in schemas.takes_away(lines) if schemas.speaks_of([line], names)]
            if told and not previous:
                return _Taker(ref, at, pod, container, told)
    return None


def _of_taker(
    book: EvidenceBook, subject: Subject, taker: _Taker, missed: list[str], cited: str
) -> Hypothesis:
    says = f"{taker.ref}, which changes a schema, was done"
    evidence = (
        cited,
        book.cite(EvidenceKind.STATUS, taker.ref, says, at=taker.at, command=commands.describe(taker.ref)),
        cite_log(book, taker.pod, taker.container, False, taker.lines, "tells what it took away"),
    )
    return Hypothesis(
        resource=taker.ref,
        category=Category.BAD_ROLLOUT,
        summary=f"{taker.ref} changed the schema at {taker.at:%Y-%m-%d %H:%M} UTC, saying"
        f" “{last_words.telling(taker.lines)}”; {subject.ref} misses that since: “{last_words.telling(missed)}”",
        support=support(subject, _TAKEN, precedes=True, steps=1),
        evidence=evidence,
        explains=_EXPLAINS,
        facts={"job": taker.ref.name},
    )


def _failed(scene: Scene, subject: Subject) -> tuple[ResourceRef, JSON] | None:
    """The newest Job of the namespace that changes a schema, if it failed before the alert and not long ago."""
    jobs = [
        (ref, job)
        for ref, job in scene.of_kind("Job")
        if ref.namespace == subject.ref.namespace
        and (
            schemas.called_migration(ref.name)
            or any(map(schemas.migrates, pods.containers(mapping(job, "spec", "template", "spec"))))
        )
    ]
    jobs.sort(key=lambda each: meta.created(each[1]) or scene.onset - 2 * _LATELY, reverse=True)
    for ref, job in jobs[:1]:
        condition = meta.condition(job, "Failed")
        if condition.status == "True" and condition.since is not None:
            return (ref, job) if alerted_at(scene) - _LATELY <= condition.since <= alerted_at(scene) else None
    return None


def _of(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, job: JSON, missed: list[str], cited: str
) -> Hypothesis:  # fmt: skip
    condition = meta.condition(job, "Failed")
    evidence = [cited, cite_condition(book, ref, condition)]
    complaint, said = cite_complaint(book, scene, subject_of(scene, ref))
    evidence += complaint
    told = [line for *_, lines in log_lines(scene, subject_of(scene, ref)) for line in lines]
    names = schemas.things(missed)
    sure = schemas.speaks_of([ref.name, *told], names)
    return Hypothesis(
        resource=ref,
        category=Category.JOB_FAILED,
        summary=f"{ref}, which changes a schema, failed ({condition.reason or 'failed'}){said}; {subject.ref} misses"
        f" what it should have made: “{last_words.telling(missed)}”",
        support=support(subject, _NAMED if sure else _BESIDE, precedes=True, steps=1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"job": ref.name, "backoff_limit": str(number(job, "spec", "backoffLimit", default=6))},
    )
