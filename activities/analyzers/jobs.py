"""Jobs that failed for good or ran out of time, and CronJobs that do not run at all."""

from __future__ import annotations

from datetime import timedelta

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
from cortexops.domain.findings import Subject, log_lines, own_subjects, seen_until, troubles
from cortexops.domain.job_runs import DEADLINE, active_job, failed_job, failures, jobs_of
from cortexops.domain.kubernetes import commands, complaints, last_words, meta, pods
from cortexops.domain.kubernetes.values import dig, moment, number, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import EventFact, Scene
from cortexops.domain.words import counted

_AGAIN = 2  # failures of its own before a deadline is only where they ended
_SYMPTOM = 0.6  # pods that never ran: whatever kept them is the cause
_HELD = "JobAlreadyActive"
_LONG = timedelta(hours=1)
_BEYOND = 3  # times the longest run before
_LONGER = 1.5  # the same, where the controller says that it holds others back
_LAST = 5  # lines


@analyzer("jobs")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in own_subjects(scene):
        if subject.ref.kind not in ("Job", "CronJob"):
            continue
        failed = failed_job(scene, subject)
        if failed is not None:
            found.append(_of_job(scene, book, subject, *failed))
        elif subject.ref.kind == "CronJob":
            found += _not_run(scene, book, subject)
        if subject.ref.kind == "Job" and dig(subject.obj, "spec", "suspend") is True:
            found.append(_suspended(scene, book, subject))
    return found


def _of_job(scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, job: JSON) -> Hypothesis:
    condition = meta.condition(job, "Failed")
    evidence = [cite_condition(book, ref, condition)]
    evidence += [cite_event(book, e) for e in events_of(scene, subject, condition.reason)[:1]]
    late = condition.reason == DEADLINE
    seconds = number(job, "spec", "activeDeadlineSeconds")
    facts = {"job": ref.name}
    if late and failures(subject, ref, condition.since) < _AGAIN:
        return Hypothesis(
            resource=subject.ref,
            category=Category.JOB_DEADLINE_EXCEEDED,
            summary=f"{ref} was ended because it ran longer than its deadline"
            + (f" of {seconds} s (activeDeadlineSeconds)" if seconds else " (DeadlineExceeded)"),
            support=support(subject, 0.95 if _ran(subject, ref) else _SYMPTOM),
            evidence=tuple(evidence),
            explains=(Category.CRASH,),
            facts={**facts, "deadline_seconds": str(seconds)},
        )
    how, said = _failing(scene, book, subject, ref, evidence)
    limit = number(job, "spec", "backoffLimit", default=6)
    why = (
        f"again and again until its deadline of {seconds} s ended it"
        if late
        else f"and is not tried again ({condition.reason or 'failed'}, backoff limit {limit})"
    )
    return Hypothesis(
        resource=subject.ref,
        category=Category.JOB_FAILED,
        summary=f"{ref} failed{how} {why}{said}",
        support=support(subject, 0.9 if said else 0.85 if how else 0.8),
        evidence=tuple(evidence),
        explains=(Category.CRASH, *((Category.JOB_DEADLINE_EXCEEDED,) if late else ())),
        facts={**facts, "backoff_limit": str(limit)},
    )


def _failing(
    scene: Scene, book: EvidenceBook, subject: Subject, job: ResourceRef, evidence: list[str]
) -> tuple[str, str]:
    """How its containers end, and what they say of it: ` with exit code 1 (Error)` and `, saying “…”`."""
    said, how = "", ""
    own = {ref for ref, pod in subject.pods if subject.ref == job or meta.owner(pod) == ("Job", job.name)}
    for trouble in troubles(scene, subject):
        end = trouble.state.final
        if end is not None and trouble.pod in own:
            evidence.append(cite_end(book, trouble, end))
            how = f" with {how_it_ended(end)}"
            break
    for pod, container, previous, lines in log_lines(scene, subject):
        wrong = complaints.complaining(lines)
        if wrong and pod in own:
            evidence.append(cite_log(book, pod, container, previous, wrong, "complains"))
            said = f", saying “{last_words.telling(wrong)}”"
            break
    return how, said


def _ran(subject: Subject, job: ResourceRef) -> bool:
    """Whether nothing shows that pods of the Job never got to run."""
    own = [pod for _, pod in subject.pods if subject.ref == job or meta.owner(pod) == ("Job", job.name)]
    waiting = {state.waiting for pod in own for state in pods.container_states(pod)}
    placed = all(meta.condition(pod, "PodScheduled").status != "False" for pod in own)
    return placed and not waiting & (pods.BAD_WAITING - {pods.CRASH_LOOP})


def _not_run(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    if dig(subject.obj, "spec", "suspend") is True:
        return [_suspended(scene, book, subject)]
    missed = events_of(scene, subject, "FailedNeedsStart", "UnexpectedJob", "MissSchedule", _HELD)
    held = [event for event in missed if event.reason == _HELD]
    active = active_job(scene, subject.ref, subject.obj)
    if active is not None and _holds(scene, subject, active[1], told=bool(held)):
        return [_blocked(scene, book, subject, *active, held)]
    if active is not None or not objects(subject.obj, "status", "active"):
        missed = [event for event in missed if event.reason != _HELD]  # over, or a run as long as others
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


def _holds(scene: Scene, subject: Subject, job: JSON, *, told: bool) -> bool:
    """Whether the active run keeps later ones from starting, where only one may run at a time: it has run for longer
    than those before it, and the controller says so; or for very much longer. A run may outlast its schedule."""
    if text(subject.obj, "spec", "concurrencyPolicy") != "Forbid":
        return False
    before = [
        done - began
        for _, each in jobs_of(scene, subject.ref)
        if (began := moment(each, "status", "startTime"))
        and (done := moment(each, "status", "completionTime"))
    ]
    if told:
        return not before or _age(scene, job) > _LONGER * max(before)
    return bool(before) and _age(scene, job) > max(_LONG, _BEYOND * max(before))


def _age(scene: Scene, job: JSON) -> timedelta:
    """How long it had run when the cluster was last heard of."""
    began = moment(job, "status", "startTime") or meta.created(job)
    return seen_until(scene) - began if began is not None else timedelta()


def _blocked(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, job: JSON, held: list[EventFact]
) -> Hypothesis:
    """A run that does not end, beside which no other may start."""
    evidence = [cite_event(book, event) for event in held[:1]]
    for_long = _spoken(_age(scene, job))
    evidence.append(
        book.cite(
            EvidenceKind.STATUS, ref, f"{ref} is active for {for_long}",
            at=moment(job, "status", "startTime"), command=commands.describe(ref),
        )
    )  # fmt: skip
    how, said = _failing(scene, book, subject, ref, evidence)
    failing = f"; its pods end{how}" if how else ""
    if not said:
        said = _last_line(scene, book, subject, ref, evidence)
    return Hypothesis(
        resource=subject.ref,
        category=Category.JOB_FAILED,
        summary=f"{subject.ref} does not start its jobs: {ref} has been running for {for_long} and does not end"
        f" (concurrencyPolicy Forbid){failing}{said}",
        support=support(subject, 0.88 if _ran(subject, ref) else _SYMPTOM),
        evidence=tuple(evidence),
        explains=(Category.CRASH,),
        facts={"job": ref.name},
    )


def _last_line(
    scene: Scene, book: EvidenceBook, subject: Subject, job: ResourceRef, evidence: list[str]
) -> str:
    """`; its last words are “…”`, of the present run of the Job's pods."""
    own = {ref for ref, pod in subject.pods if meta.owner(pod) == ("Job", job.name)}
    for pod, container, previous, lines in log_lines(scene, subject):
        if pod in own and lines and not previous:
            evidence.append(cite_log(book, pod, container, previous, lines, "ends so"))
            return f"; its last words are “{last_words.telling(lines[-_LAST:])}”"
    return ""


def _spoken(age: timedelta) -> str:
    if age >= timedelta(days=1):
        return counted(age.days, "day")
    if age >= timedelta(hours=2):
        return counted(int(age.total_seconds() // 3600), "hour")
    return counted(max(1, int(age.total_seconds() // 60)), "minute")


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
