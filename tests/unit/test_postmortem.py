"""Postmortems: assembled from what was recorded, nothing invented."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cortexops.domain.audit import GENESIS, AuditEvent, AuditType, seal
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.postmortem import POSTMORTEM_STEPS, PostmortemState, write_postmortem
from tests.support.postgres import API, NOW, a_draft, an_entry


def ended(**more: Any) -> Incident:
    base: dict[str, Any] = {
        "id": "INC-1",
        "state": IncidentState.RESOLVED,
        "reason": Reason.VERIFIED,
        "ended_at": NOW + timedelta(seconds=125),
        "signal_count": 4,
        "attempts": 1,
    }
    return a_draft(**{**base, **more})


def diagnosis(category: Category = Category.OOM_LIMIT_TOO_LOW) -> Diagnosis:
    cause = Hypothesis(
        resource=API, category=category, summary="the limit is too low", support=Support(direct=1)
    )
    return Diagnosis(target=API, verdict=Verdict.ROOT_CAUSE, hypotheses=(cause,), affected=(API,))


def events() -> list[AuditEvent]:
    found: list[AuditEvent] = []
    for type_, reason in (
        (AuditType.DETECTED, "signals_grouped"),
        (AuditType.APPROVAL_DECIDED, "approval_expired"),
    ):
        previous = found[-1].hash if found else GENESIS
        entry = an_entry("INC-1", type=type_, reason=reason, detail="")
        found.append(seal(entry, number=len(found) + 1, previous_hash=previous))
    return found


def test_every_line_of_the_timeline_is_a_recorded_event() -> None:
    written = write_postmortem(ended(), diagnosis(), events())
    assert [(line.timestamp, line.type, line.detail, line.actor) for line in written.timeline] == [
        (event.at, event.type, event.reason, event.actor) for event in events()
    ]


def test_it_says_what_how_long_and_how_it_ended() -> None:
    written = write_postmortem(ended(), diagnosis(), [])
    assert written.root_cause == "the limit is too low"
    assert written.duration_seconds == 125
    assert "2m05s" in written.impact and "4 signals" in written.impact
    assert written.outcome == "RESOLVED (verified)"
    assert written.state is PostmortemState.OPEN
    assert len(written.lessons_learned) == len(written.prevention_actions) == 1


def test_without_a_diagnosis_no_cause_and_no_lesson_is_made_up() -> None:
    written = write_postmortem(ended(), None, [])
    assert written.root_cause == "Not determined."
    assert (written.lessons_learned, written.prevention_actions, written.contributing_factors) == ((), (), ())


def test_a_remedy_that_did_not_help_and_an_unanswered_approval_are_lessons() -> None:
    written = write_postmortem(ended(state=IncidentState.ESCALATED), None, events())
    assert len(written.lessons_learned) == 2


def test_review_comes_before_closing_and_closed_is_the_end() -> None:
    steps = PostmortemState
    assert {steps.OPEN: steps.IN_REVIEW, steps.IN_REVIEW: steps.CLOSED} == POSTMORTEM_STEPS
