"""Postmortem: assembled from the recorded timeline, nothing invented (fields as in seeds 000 and 003)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import AwareDatetime

from cortexops.domain.audit import AuditEvent, AuditType
from cortexops.domain.diagnosis import Category, Diagnosis
from cortexops.domain.ids import postmortem_id
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.ledger import LedgerRow
from cortexops.domain.resource import Frozen
from cortexops.domain.runbook_outcome import with_outcomes
from cortexops.domain.runbook_words import summary
from cortexops.domain.signal import Severity


class PostmortemState(StrEnum):
    OPEN = "Open"
    IN_REVIEW = "InReview"
    CLOSED = "Closed"


POSTMORTEM_STEPS = {
    PostmortemState.OPEN: PostmortemState.IN_REVIEW,
    PostmortemState.IN_REVIEW: PostmortemState.CLOSED,
}


class TimelineEntry(Frozen):
    timestamp: AwareDatetime
    type: str
    detail: str
    actor: str = "cortexops"


class Postmortem(Frozen):
    """The record that people review. Durations in seconds."""

    id: str
    incident_id: str
    state: PostmortemState = PostmortemState.OPEN
    severity: Severity
    summary: str
    root_cause: str
    impact: str
    timeline: tuple[TimelineEntry, ...]
    contributing_factors: tuple[str, ...] = ()
    lessons_learned: tuple[str, ...] = ()
    prevention_actions: tuple[str, ...] = ()
    runbook: str = ""
    """Which runbook was carried out, and how its steps ended."""
    outcome: str
    duration_seconds: float
    detected_at: AwareDatetime
    ended_at: AwareDatetime
    drill: bool = False


_LESSONS: dict[Category, tuple[str, str]] = {
    Category.OOM_AFTER_RELEASE: (
        "A release raised the memory need above the limit that was set for the one before it.",
        "Add a memory test under load to the release pipeline and compare with the limit.",
    ),
    Category.OOM_LIMIT_TOO_LOW: (
        "The memory limit left no room for normal peaks.",
        "Set the limit from observed peaks and alert at 90 % of it.",
    ),
    Category.MEMORY_LEAK: (
        "Memory grew without bound: more memory only delays the next kill.",
        "Profile the release for leaks before it is rolled out again.",
    ),
    Category.CONFIGMAP_CHANGED: (
        "A configuration change took effect only when pods restarted, long after it was made.",
        "Roll workloads when their configuration changes (hash annotation); validate values first.",
    ),
    Category.SECRET_CHANGED: (
        "A secret was changed without the workloads that use it.",
        "Roll workloads when their secrets change and keep the old credential valid meanwhile.",
    ),
    Category.CONFIG_MISSING: (
        "A workload referred to configuration that was not there.",
        "Check references to ConfigMaps and Secrets before a rollout.",
    ),
    Category.IMAGE_NOT_FOUND: (
        "A rollout named an image that does not exist.",
        "Check in the pipeline that the image is in the registry before rolling out.",
    ),
    Category.READINESS_PROBE: (
        "The probe asked for something that the program does not serve.",
        "Test probes against the image in the pipeline.",
    ),
    Category.BAD_ROLLOUT: (
        "A rollout brought pods that do not become ready.",
        "Use progressive delivery with automatic analysis for this workload.",
    ),
    Category.NODE_NOT_READY: (
        "A node failed under running workloads.",
        "Spread replicas over nodes and keep room for one node's load.",
    ),
    Category.EXTERNAL_DEPENDENCY: (
        "A dependency outside the cluster failed.",
        "Add time-outs, a fallback and an alert on this dependency.",
    ),
}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def write_postmortem(
    incident: Incident,
    diagnosis: Diagnosis | None,
    events: list[AuditEvent],
    rows: Sequence[LedgerRow] = (),
) -> Postmortem:
    """The postmortem of an ended incident. Every line of the timeline is a recorded event; `rows` of the
    ledger say what became of the actions that a runbook offered."""
    used = diagnosis.runbook if diagnosis else None
    ended = incident.ended_at or incident.updated_at
    seconds = (ended - incident.detected_at).total_seconds()
    cause = diagnosis.cause if diagnosis else None
    affected = len(diagnosis.affected) if diagnosis else 0
    lesson = _LESSONS.get(cause.category) if cause else None
    lessons = [lesson[0]] if lesson else []
    if incident.state in (IncidentState.ROLLED_BACK, IncidentState.ESCALATED) and incident.attempts:
        lessons.append("The automated remedy did not restore health; a person had to take over.")
    if any(
        event.type is AuditType.APPROVAL_DECIDED and event.reason == "approval_expired" for event in events
    ):
        lessons.append("Nobody answered the approval in time.")
    return Postmortem(
        id=postmortem_id(incident.id),
        incident_id=incident.id,
        severity=incident.severity,
        summary=f"{incident.title}. {diagnosis.summary if diagnosis else 'No diagnosis was made.'}",
        root_cause=cause.summary if cause else "Not determined.",
        impact=f"{incident.resource} was affected for {_duration(seconds)}; {affected} objects involved, "
        f"{incident.signal_count} signals.",
        timeline=tuple(
            TimelineEntry(
                timestamp=event.at, type=event.type, detail=event.detail or event.reason, actor=event.actor
            )
            for event in events
        ),
        contributing_factors=tuple(h.summary for h in (diagnosis.hypotheses[1:3] if diagnosis else ())),
        runbook=summary(with_outcomes(used, rows, ended=True)) if used else "",
        lessons_learned=tuple(lessons),
        prevention_actions=(lesson[1],) if lesson else (),
        outcome=f"{incident.state} ({incident.reason})",
        duration_seconds=round(seconds, 3),
        detected_at=incident.detected_at,
        ended_at=ended,
        drill=incident.drill,
    )
