"""Incident: one cause, one key, one workflow, and the table of its legal transitions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime

from cortexops.domain.errors import PermanentError
from cortexops.domain.resource import Frozen, ResourceRef
from cortexops.domain.signal import Severity

MAX_ATTEMPTS = 5
"""Remediation attempts per incident (seed 000: maxRemediationAttempts 5)."""
MOST_LINKED = 200
"""Objects that an incident names as part of it; a storm has more than anybody reads."""


class IncidentState(StrEnum):
    DETECTED = "DETECTED"
    INVESTIGATING = "INVESTIGATING"
    POLICY_CHECK = "POLICY_CHECK"
    DRY_RUNNING = "DRY_RUNNING"
    APPROVAL_PENDING = "APPROVAL_PENDING"
    REMEDIATING = "REMEDIATING"
    VERIFYING = "VERIFYING"
    ROLLING_BACK = "ROLLING_BACK"
    RESOLVED = "RESOLVED"
    CONTAINED = "CONTAINED"
    ROLLED_BACK = "ROLLED_BACK"
    DENIED = "DENIED"
    EXPIRED = "EXPIRED"
    ESCALATED = "ESCALATED"
    SUPPRESSED = "SUPPRESSED"
    MERGED = "MERGED"

    @property
    def final(self) -> bool:
        return not TRANSITIONS[self]


_S = IncidentState
_STOPS = frozenset(
    {_S.ESCALATED, _S.MERGED}
)  # a person or a better cause may end any stage that changed nothing

TRANSITIONS: dict[IncidentState, frozenset[IncidentState]] = {
    _S.DETECTED: _STOPS | {_S.INVESTIGATING, _S.SUPPRESSED, _S.RESOLVED},
    _S.INVESTIGATING: _STOPS | {_S.POLICY_CHECK, _S.RESOLVED, _S.SUPPRESSED, _S.ROLLED_BACK},
    _S.POLICY_CHECK: _STOPS | {_S.DRY_RUNNING, _S.DENIED, _S.RESOLVED, _S.INVESTIGATING},
    _S.DRY_RUNNING: _STOPS
    | {_S.APPROVAL_PENDING, _S.REMEDIATING, _S.POLICY_CHECK, _S.INVESTIGATING, _S.RESOLVED},
    _S.APPROVAL_PENDING: _STOPS
    | {_S.REMEDIATING, _S.DENIED, _S.EXPIRED, _S.POLICY_CHECK, _S.DRY_RUNNING, _S.INVESTIGATING, _S.RESOLVED},
    _S.REMEDIATING: frozenset({_S.VERIFYING, _S.ROLLING_BACK, _S.ESCALATED, _S.INVESTIGATING}),
    _S.VERIFYING: frozenset({_S.RESOLVED, _S.CONTAINED, _S.ROLLING_BACK, _S.ESCALATED}),
    _S.ROLLING_BACK: frozenset({_S.ROLLED_BACK, _S.INVESTIGATING, _S.ESCALATED}),
    _S.RESOLVED: frozenset(),
    _S.CONTAINED: frozenset(),
    _S.ROLLED_BACK: frozenset(),
    _S.DENIED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.ESCALATED: frozenset(),
    _S.SUPPRESSED: frozenset(),
    _S.MERGED: frozenset(),
}
"""From each state, where it may go. A state that goes nowhere is final."""


class IllegalTransition(PermanentError):
    """The table has no such step: a defect of ours, never of the input."""


def check_transition(before: IncidentState, after: IncidentState) -> None:
    """Raise `IllegalTransition` unless the table allows the step."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(f"an incident cannot go from {before} to {after}")


class Reason(StrEnum):
    """Why an incident did what it did. Reaches the audit row, the metric label and the message."""

    SIGNALS_GROUPED = "signals_grouped"
    INVESTIGATION_STARTED = "investigation_started"
    CAUSE_FOUND = "cause_found"
    CAUSE_HYPOTHESIS = "cause_hypothesis"
    CAUSE_UNKNOWN = "cause_unknown"
    CAUSE_EXTERNAL = "cause_external"
    NOTHING_WRONG = "nothing_wrong"
    SIGNALS_RESOLVED = "signals_resolved"
    INVESTIGATION_FAILED = "investigation_failed"
    NO_FEASIBLE_ACTION = "no_feasible_action"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    POLICY_ALLOWED = "policy_allowed"
    POLICY_REQUIRES_APPROVAL = "policy_requires_approval"
    POLICY_DENIED = "policy_denied"
    POLICY_UNAVAILABLE = "policy_unavailable"
    DRY_RUN_PASSED = "dry_run_passed"
    DRY_RUN_FORBIDDEN = "dry_run_forbidden"
    DRY_RUN_REJECTED = "dry_run_rejected"
    OBJECT_CHANGED = "object_changed"
    OBJECT_GONE = "object_gone"
    APPROVAL_REQUESTED = "approval_requested"
    APPROVED = "approved"
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_VOID = "approval_void"
    APPROVAL_UNAVAILABLE = "approval_unavailable"
    TAKEN_OVER = "taken_over_by_person"
    APPLIED = "applied"
    APPLY_REFUSED = "apply_refused"
    EFFECT_UNKNOWN = "effect_unknown"
    EFFECT_DIFFERS = "effect_differs"
    RESTART_NEEDED = "restart_needed"
    POLICY_CHANGED = "policy_changed"
    VERIFIED = "verified"
    VERIFICATION_FAILED = "verification_failed"
    VERIFICATION_INCONCLUSIVE = "verification_inconclusive"
    VERIFICATION_ERROR = "verification_error"
    COMPENSATED = "compensated"
    COMPENSATION_REFUSED = "compensation_refused"
    COMPENSATION_FAILED = "compensation_failed"
    NOT_REVERSIBLE = "not_reversible"
    ESCALATION_CHOSEN = "escalation_chosen"
    PULL_REQUEST_OPENED = "pull_request_opened"
    PULL_REQUEST_MERGED = "pull_request_merged"
    PULL_REQUEST_CLOSED = "pull_request_closed"
    TERMINATED = "terminated_by_person"
    MERGED_INTO = "merged_into_another_incident"
    HELD = "held_by_silence"
    SILENCED = "ended_while_silenced"
    SILENCE_OVER = "silence_over"
    FLAPPING = "flapping"
    LIMITED = "limit_reached"
    TURN_CAME = "its_turn_came"
    WORKFLOW_TERMINATED = "workflow_terminated"
    WORKFLOW_FAILED = "workflow_failed"
    WORKFLOW_TIMED_OUT = "workflow_timed_out"
    WORKFLOW_CANCELED = "workflow_canceled"
    WORKFLOW_ENDED = "workflow_ended_early"
    WORKFLOW_GONE = "workflow_gone"
    MODEL_ASKED = "model_asked"


class Incident(Frozen):
    """What the store, the console and the CLI know of an incident."""

    id: str
    key: str
    run_id: str = ""
    title: str
    severity: Severity
    risk_score: int
    resource: ResourceRef
    state: IncidentState
    reason: Reason
    detected_at: AwareDatetime
    updated_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    attempts: int = 0
    signal_count: int = 0
    drill: bool = False
    summary: str = ""
    confidence: float | None = None
    llm_used: bool = False
    linked: tuple[ResourceRef, ...] = ()
    """Objects whose trouble is part of this incident, at most `MOST_LINKED`."""
    merged_into: str = ""
    """Key of the incident that this one turned out to be part of."""
    held_until: AwareDatetime | None = None
    """A silence holds automation and notices until then."""
    held_by: str = ""
    flapping: bool = False
    """It came back too often lately to be acted upon."""

    def age(self, now: datetime) -> float:
        """Seconds since detection, or how long it lasted when it has ended."""
        return ((self.ended_at or now) - self.detected_at).total_seconds()
