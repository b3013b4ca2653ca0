"""Jobs that failed for good or ran out of time, and CronJobs that do not run at all."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    by_whom,
    cite_condition,
    cite_end,
    cite_event,
    cite_log,
    cite_write,
    events_of,
    how_it_ended,
    support,
)
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, log_lines, own_subjects, troubles
from cortexops.domain.kubernetes import complaints, last_words, meta
from cortexops.domain.kubernetes.values import dig, number, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation


@analyzer("jobs")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in own_subjects(scene):
        if subject.ref.kind not in ("Job", "CronJob"):
            continue
        failed = _failed(scene, subject)
        if failed is not None:
            found.append(_of_job(scene, book, subject, *failed))
        elif subject.ref.kind == "CronJob":
            found += _not_run(scene, book, subject)
        if subject.ref.kind == "Job" and dig(subject.obj, "spec", "suspend") is True:
            found.append(_suspended(scene, book, subject))
    return found


def _failed(scene: Scene, subject: Subject) -> tuple[ResourceRef, JSON] | None:
    """The Job that failed: the alert's own, else the newest one when it failed."""
    if subject.ref.kind == "Job":
        jobs = [(subject.ref, subject.obj)]
    else:
        owned = scene.topology.out(subject.ref, Relation.OWNS)
        jobs = [(ref, obj) for ref in owned if ref.kind == "Job" and (obj := scene.get(ref)) is not None]
        named = [job for job in jobs if any(s.resource == job[0] for s in scene.signals)]
        newest = sorted(jobs, key=lambda job: text(job[1], "metadata", "creationTimestamp"), reverse=True)[:1]
        if newest and meta.condition(newest[0][1], "Complete").status == "True":
            return None  # a later run did it
        jobs = named or newest
    for ref, job in jobs:
        if meta.condition(job, "Failed").status == "True":
            return ref, job
    return None


def _of_job(scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, job: JSON) -> Hypothesis:
    condition = meta.condition(job, "Failed")
    evidence = [cite_condition(book, ref, condition)]
    evidence += [cite_event(book, e) for e in events_of(scene, subject, condition.reason)[:1]]
    if condition.reason == "DeadlineExceeded":
        seconds = number(job, "spec", "activeDeadlineSeconds")
        return Hypothesis(
            resource=subject.ref,
            category=Category.JOB_DEADLINE_EXCEEDED,
            summary=f"{ref} was ended because it ran longer than its deadline"
            + (f" of {seconds} s (activeDeadlineSeconds)" if seconds else " (DeadlineExceeded)"),
            support=support(subject, 0.95),
            evidence=tuple(evidence),
            explains=(Category.CRASH,),
            facts={"job": ref.name, "deadline_seconds": str(seconds)},
        )
    said, how = "", ""
    for trouble in troubles(scene, subject):
        end = trouble.state.final
        if end is not None:
            evidence.append(cite_end(book, trouble, end))
            how = f" with {how_it_ended(end)}"
            break
    for pod, container, previous, lines in log_lines(scene, subject):
        wrong = complaints.complaining(lines)
        if wrong:
            evidence.append(cite_log(book, pod, container, previous, wrong, "complains"))
            said = f", saying “{last_words.telling(wrong)}”"
            break
    limit = number(job, "spec", "backoffLimit", default=6)
    return Hypothesis(
        resource=subject.ref,
        category=Category.JOB_FAILED,
        summary=f"{ref} failed{how} and is not tried again ({condition.reason or 'failed'}, backoff limit"
        f" {limit}){said}",
        support=support(subject, 0.9 if said else 0.85 if how else 0.8),
        evidence=tuple(evidence),
        explains=(Category.CRASH,),
        facts={"job": ref.name, "backoff_limit": str(limit)},
    )


def _not_run(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    if dig(subject.obj, "spec", "suspend") is True:
        return [_suspended(scene, book, subject)]
    missed = events_of(
        scene, subject, "FailedNeedsStart", "UnexpectedJob", "MissSchedule", "JobAlreadyActive"
    )
    if not missed:
        return []
    return [
        Hypothesis(
            resource=subject.ref,
            category=Category.JOB_FAILED,
            summary=f"{subject.ref} does not start its jobs: {missed[0].message[:200]}",
            support=support(subject, 0.85),
            evidence=(cite_event(book, missed[0]),),
        )
    ]


def _suspended(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis:
    write = meta.writes(subject.obj, "spec", "suspend")
    says = f"{subject.ref} is suspended"
    evidence = cite_write(book, subject.ref, says, write, unknown=EvidenceKind.CONFIG)
    return Hypothesis(
        resource=subject.ref,
        category=Category.CRONJOB_SUSPENDED,
        summary=f"{says}{by_whom(write)}: it starts nothing",
        support=support(subject, 0.97, precedes=True if write and write.at <= scene.onset else None),
        evidence=(evidence,),
    )
