"""Jobs that failed for good or ran out of time, and CronJobs that do not run at all."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    by_whom,
    cite_complaint,
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
from cortexops.domain.kubernetes import commands, last_words, meta, pods
from cortexops.domain.kubernetes.schedules import longest_gap, overdue
from cortexops.domain.kubernetes.values import dig, moment, number, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import EventFact, Scene
from cortexops.domain.words import counted

_AGAIN = 2  # failures of its own before a deadline is only where they ended
_SYMPTOM = 0.6  # pods that never ran: whatever kept them is the cause
_HELD = "JobAlreadyActive"
_NEVER = ("UnknownTimeZone", "UnparseableSchedule", "InvalidSchedule")  # no time is ever due
_LONG = timedelta(hours=1)
_BEYOND = 3  # times the longest run before
_LONGER = 1.5  # the same, where the controller says that it holds others back
_LAST = 5  # lines
_WRITES_UP = timedelta(minutes=5)
_LOOKS_EVERY = 10  # seconds: what the documentation of CronJobs warns of
_BESIDE = re.compile(
    r"(?i)proxy|envoy|sidecar|\bagent\b|-agent|fluent|filebeat|vector|promtail|otel|exporter|telegraf|daprd"
)
"""Names of containers that stand beside those that do the work."""


@analyzer("jobs")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in own_subjects(scene):
        if subject.ref.kind not in ("Job", "CronJob"):
            continue
        failed = failed_job(scene, subject)
        if failed is not None:
            found.append(_of_job(scene, book, subject, *failed))
        elif (kept := _kept_open(scene, book, subject)) is not None:
            found.append(kept)
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
    how = ""
    own = {ref for ref, pod in subject.pods if subject.ref == job or meta.owner(pod) == ("Job", job.name)}
    for trouble in troubles(scene, subject):
        end = trouble.state.final
        if end is not None and trouble.pod in own:
            evidence.append(cite_end(book, trouble, end))
            how = f" with {how_it_ended(end)}"
            break
    cited, said = cite_complaint(book, scene, subject, own)
    evidence += cited
    return how, said


def _kept_open(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """A Job whose work is done, and whose pod does not end for a container beside it that never does."""
    for ref, pod in subject.pods:
        states = [state for state in pods.container_states(pod) if not state.init]
        done = [state for state in states if state.ended is not None and state.ended.code == 0]
        beside = [state for state in states if state.running_since is not None]
        if not done or len(done) + len(beside) < len(states) or not beside or meta.deleting_since(pod):
            continue
        ends = [state.ended.at for state in done if state.ended is not None and state.ended.at is not None]
        if not ends or seen_until(scene) - max(ends) < _WRITES_UP:
            continue  # what stands beside may be about to end
        surely = all(_BESIDE.search(state.name) or _BESIDE.search(state.image) for state in beside)
        names = ", ".join(state.name for state in beside)
        owner = meta.owner(pod)
        job = scene.ref(owner[0], ref.namespace, owner[1]) if owner is not None else subject.ref
        cited = book.cite(
            EvidenceKind.STATUS, ref, f"container {done[0].name} of {ref} has ended well, {names} runs on",
            at=max(ends), command=commands.describe(ref),
        )  # fmt: skip
        return Hypothesis(
            resource=subject.ref,
            category=Category.JOB_FAILED,
            summary=f"{job} does not end: container {done[0].name} has ended with exit code 0, and"
            f" {'the sidecar ' if surely else ''}{names} beside it runs on",
            support=support(subject, 0.92 if surely else 0.55),
            evidence=(cited,),
            facts={"pod": ref.name, "container": beside[0].name},
        )
    return None


def _ran(subject: Subject, job: ResourceRef) -> bool:
    """Whether nothing shows that pods of the Job never got to run."""
    own = [pod for _, pod in subject.pods if subject.ref == job or meta.owner(pod) == ("Job", job.name)]
    waiting = {state.waiting for pod in own for state in pods.container_states(pod)}
    placed = all(meta.condition(pod, "PodScheduled").status != "False" for pod in own)
    return placed and not waiting & (pods.BAD_WAITING - {pods.CRASH_LOOP})


def _not_run(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    if dig(subject.obj, "spec", "suspend") is True:
        return [_suspended(scene, book, subject)]
    missed = events_of(scene, subject, "FailedNeedsStart", "UnexpectedJob", "MissSchedule", *_NEVER, _HELD)
    missed = [event for event in missed if event.reason not in _NEVER or not _mended(scene, subject, event)]
    held = [event for event in missed if event.reason == _HELD]
    active = active_job(scene, subject.ref, subject.obj)
    if active is not None and _holds(scene, subject, active[1], told=bool(held)):
        return [_blocked(scene, book, subject, *active, held)]
    if active is not None or not objects(subject.obj, "status", "active"):
        missed = [event for event in missed if event.reason != _HELD]  # over, or a run as long as others
    if not missed:
        return _too_short(scene, book, subject) or _replaced(scene, book, subject)
    return [
        Hypothesis(
            resource=subject.ref,
            category=Category.JOB_FAILED,
            summary=f"{subject.ref} does not start its jobs: {missed[0].message[:200]}",
            support=support(subject, 0.97 if missed[0].reason in _NEVER else 0.85),
            evidence=(cite_event(book, missed[0]),),
        )
    ]


def _replaced(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    """Runs begin on time, and none has ended for long: each is removed when the next is due."""
    gap = longest_gap(text(subject.obj, "spec", "schedule"))
    began = moment(subject.obj, "status", "lastScheduleTime")
    done = moment(subject.obj, "status", "lastSuccessfulTime")
    replaces = text(subject.obj, "spec", "concurrencyPolicy") == "Replace"
    if not replaces or gap is None or began is None or done is None:
        return []
    now = seen_until(scene)
    if began - done < _BEYOND * gap or now - began > _BEYOND * gap:
        return []
    says = f"{subject.ref} replaces a run that has not ended when the next is due (concurrencyPolicy Replace)"
    return [
        Hypothesis(
            resource=subject.ref,
            category=Category.JOB_FAILED,
            summary=f"{says}, and its runs do not end in time: it starts them as it should, and none has ended well for"
            f" {_spoken(now - done)}",
            support=support(subject, 0.85),
            evidence=(
                cite_write(book, subject.ref, says, None, unknown=EvidenceKind.CONFIG),
                book.cite(
                    EvidenceKind.STATUS, subject.ref, f"{subject.ref} had its last success", at=done,
                    command=commands.describe(subject.ref),
                ),
            ),
        )
    ]  # fmt: skip


def _too_short(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    """It is late, and a run that is a few seconds late already is not to be started any more."""
    seconds = number(subject.obj, "spec", "startingDeadlineSeconds")
    late = overdue(subject.obj, seen_until(scene))
    if late is None or not 0 < seconds < _LOOKS_EVERY:
        return []
    write = meta.writes(subject.obj, "spec", "startingDeadlineSeconds")
    says = f"{subject.ref} gives up a run that is {seconds} s late (startingDeadlineSeconds)"
    return [
        Hypothesis(
            resource=subject.ref,
            category=Category.JOB_FAILED,
            summary=f"{says}{by_whom(write)}, which is less than its controller may take to see that it is due: it has"
            f" started none for {_spoken(late)}",
            support=support(subject, 0.85, precedes=True if write and write.at <= scene.onset else None),
            evidence=(cite_write(book, subject.ref, says, write, unknown=EvidenceKind.CONFIG),),
            facts={"starting_deadline_seconds": str(seconds)},
        )
    ]


def _mended(scene: Scene, subject: Subject, event: EventFact) -> bool:
    """Whether it has run since the controller could not tell when to, or its schedule was written anew."""
    since = [moment(subject.obj, "status", "lastScheduleTime")]
    since += [
        write.at
        for field in ("schedule", "timeZone")
        if not scene.clocks_apart
        if (write := meta.writes(subject.obj, "spec", field)) is not None
    ]
    return event.last is not None and any(at is not None and at > event.last for at in since)


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
