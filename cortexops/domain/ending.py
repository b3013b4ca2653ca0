"""Whether an incident ends after its investigation, before anything is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cortexops.domain.action import Candidate
from cortexops.domain.approval import ApprovalState
from cortexops.domain.diagnosis import Diagnosis, Verdict
from cortexops.domain.incident import IncidentState, Reason


class Ending(NamedTuple):
    """`state` is RESOLVED, ROLLED_BACK or ESCALATED."""

    state: IncidentState
    reason: Reason
    detail: str


APPROVAL_ENDS = {
    ApprovalState.DENIED: (IncidentState.DENIED, Reason.APPROVAL_DENIED),
    ApprovalState.TAKEN_OVER: (IncidentState.ESCALATED, Reason.TAKEN_OVER),
    ApprovalState.EXPIRED: (IncidentState.EXPIRED, Reason.APPROVAL_EXPIRED),
    ApprovalState.VOID: (IncidentState.RESOLVED, Reason.SIGNALS_RESOLVED),
}
"""How an incident ends with its approval."""


class Course(NamedTuple):
    """What has happened so far."""

    all_resolved: bool
    only_object_states: bool  # all signals came from watching objects
    rolled_back: bool
    flapping: bool


def ending(diagnosis: Diagnosis, course: Course) -> Ending | None:
    """Because it is over, because the cause is not ours to mend, or because it comes back again and again.

    None when a remedy is to be looked for.
    """
    summary = diagnosis.summary
    resolved, escalated = IncidentState.RESOLVED, IncidentState.ESCALATED
    if course.all_resolved:
        return Ending(resolved, Reason.SIGNALS_RESOLVED, "all signals have stopped firing")
    if diagnosis.verdict is Verdict.HEALTHY:
        if course.rolled_back:
            again = f"{summary} It may come back: the remedy was undone."
            return Ending(IncidentState.ROLLED_BACK, Reason.NOTHING_WRONG, again)
        if course.only_object_states:
            return Ending(resolved, Reason.NOTHING_WRONG, summary)
        return Ending(escalated, Reason.NOTHING_WRONG, f"{summary} Yet the alert fires on.")
    if diagnosis.verdict is Verdict.EXTERNAL:
        return Ending(escalated, Reason.CAUSE_EXTERNAL, summary)
    if diagnosis.cause is None:
        return Ending(escalated, Reason.CAUSE_UNKNOWN, summary)
    if course.flapping:
        return Ending(
            escalated,
            Reason.FLAPPING,
            f"{summary} It ends and comes back again and again: nothing is tried, a person should look.",
        )
    return None


def quiet_ending(state: IncidentState) -> Ending:
    """All signals have ended while a silence held the incident in this state."""
    detail = "all signals have stopped firing while it was silenced"
    if state is IncidentState.DETECTED:  # nobody was told of it
        return Ending(IncidentState.SUPPRESSED, Reason.SILENCED, detail)
    return Ending(IncidentState.RESOLVED, Reason.SIGNALS_RESOLVED, detail)


_MOST_REFUSALS = 5
_LONGEST_REFUSAL = 400  # characters


def refusals(refused: Sequence[str]) -> str:
    """The newest refusals in the words of whoever refused, to be added to a sentence; empty without any."""
    told = [text[:_LONGEST_REFUSAL] for text in dict.fromkeys(refused[-_MOST_REFUSALS:])]
    return f". Refused, nothing was changed: {'; '.join(told)}" if told else ""


def none_left(
    diagnosis: Diagnosis, candidates: Sequence[Candidate], undone: int, refused: Sequence[str]
) -> str:
    """Why there is no remedy (any more): what was undone, what was refused and by which words."""
    if undone or refused:
        tried = f"{undone} tried and undone; none is left" if undone else "No remedy is left"
        return f"{tried}{refusals(refused)}".rstrip(".") + "."
    why = "; ".join(f"{c.action.type}: {c.why}" for c in candidates if not c.feasible)
    known = f"Not possible: {why}." if why else "No remedy is known for this cause."
    return f"{diagnosis.summary} {known}"
