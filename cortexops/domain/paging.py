"""Paging: which messages wake somebody up, and which of them let that person sleep again.

A channel that pages hears every message of an incident and sends few of them on. One incident is one page,
however often it is repeated. The page of an incident that ended without anybody being needed is closed; one
that nobody answered, one whose undo failed and one whose automation ended before it did stays open until a person
closes it: the trouble is still there.
"""

from __future__ import annotations

from enum import StrEnum

from cortexops.domain.approval import ApprovalState, tally
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.message import Message, MessageKind


class Call(StrEnum):
    """What is to happen to an incident's page."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


HALF_DONE = frozenset({Reason.COMPENSATION_FAILED, Reason.COMPENSATION_REFUSED, Reason.EFFECT_UNKNOWN})
"""Ends that are of the highest urgency: a change of ours is in the cluster, or may be, and cannot be taken back."""
UNATTENDED = frozenset(
    {
        Reason.WORKFLOW_TERMINATED,
        Reason.WORKFLOW_FAILED,
        Reason.WORKFLOW_TIMED_OUT,
        Reason.WORKFLOW_CANCELED,
        Reason.WORKFLOW_ENDED,
        Reason.WORKFLOW_GONE,
    }
)
"""Ends that the sweeper wrote down: whatever was to be done next, nobody does it, and the trouble may last."""
_BY_A_PERSON = frozenset({Reason.TAKEN_OVER, Reason.TERMINATED})
_SILENT = frozenset({MessageKind.APPROVAL_LAST_CALL, MessageKind.APPROVAL_SILENCE})
_ANSWERED = frozenset({ApprovalState.APPROVED, ApprovalState.DENIED, ApprovalState.TAKEN_OVER})


def half_done(message: Message) -> bool:
    """Whether the incident ended with a change that could not be taken back, or that nobody looks after."""
    if unattended(message):
        return message.changes_left > 0
    return _escalated(message) and message.reason in HALF_DONE


def unattended(message: Message) -> bool:
    """Whether the incident ended because its automation did, and no person ended it."""
    return _escalated(message) and message.reason in UNATTENDED


def _escalated(message: Message) -> bool:
    return message.kind is MessageKind.ENDED and message.state is IncidentState.ESCALATED


def call(message: Message, *, open_page: bool) -> Call | None:
    """What the message does to the page of its incident; None: nothing. A drill wakes nobody.

    `open_page`: somebody was paged for this incident before, and the page was not closed since.
    """
    if message.drill:
        return None
    if message.kind in _SILENT or half_done(message) or unattended(message):
        return Call.TRIGGER
    if not open_page:
        return None
    if message.kind is MessageKind.APPROVAL_DECIDED:
        return Call.ACKNOWLEDGE if _answered(message) else None
    if message.kind is MessageKind.ENDED and not _needs_somebody(message):
        return Call.RESOLVE
    return None


def _answered(message: Message) -> bool:
    """People decided; it did not run out and was not withdrawn."""
    request = message.approval
    return request is not None and tally(request, list(message.votes), now=message.at) in _ANSWERED


def _needs_somebody(message: Message) -> bool:
    """The incident is over for us and not for people: nobody answered, or we gave up."""
    if message.state is IncidentState.EXPIRED:
        return True
    return message.state is IncidentState.ESCALATED and message.reason not in _BY_A_PERSON
