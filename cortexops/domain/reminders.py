"""Silence on an approval: when people are reminded, and when somebody else is told.

Reminders come at set shares of the time that an approval has. Whoever sends them asks `reminder`, which
answers with the newest that is due: after a pause nobody gets a heap of them at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote
from cortexops.domain.resource import Frozen
from cortexops.domain.words import counted

SHARES = (1 / 3, 2 / 3)
"""Of the time between asking and expiry."""
TOLD_FOR = timedelta(hours=1)
"""An approval that ran out longer ago than this is not brought up any more."""


class Reminder(Frozen):
    """The `number`th of `of`; the last one goes to the next level, too."""

    number: int
    of: int

    @property
    def last(self) -> bool:
        return self.number == self.of


def reminder(request: ApprovalRequest, now: datetime, shares: tuple[float, ...] = SHARES) -> Reminder | None:
    """The newest reminder that is due, or None: too early, or the time is up."""
    if now >= request.expires_at:
        return None
    whole = request.expires_at - request.requested_at
    due = [n for n, share in enumerate(sorted(shares), 1) if now >= request.requested_at + whole * share]
    return Reminder(number=due[-1], of=len(shares)) if due else None


def silent(request: ApprovalRequest, state: ApprovalState, now: datetime) -> bool:
    """Whether the time ran out lately, so that the next level has to hear of it."""
    return state is ApprovalState.EXPIRED and now < request.expires_at + TOLD_FOR


def reminder_text(request: ApprovalRequest, votes: tuple[Vote, ...], now: datetime) -> str:
    """`5 minutes left to answer INC-…-approval-1; 1 of 2 approvals.`"""
    left = max(1, round((request.expires_at - now).total_seconds() / 60))
    return f"{counted(left, 'minute')} left to answer {request.id}; {_standing(request, votes)}."


def silence_text(request: ApprovalRequest, votes: tuple[Vote, ...]) -> str:
    """What the next level hears when nobody answered in time."""
    minutes = round((request.expires_at - request.requested_at).total_seconds() / 60)
    return (
        f"{request.id} ran out after {counted(minutes, 'minute')}; {_standing(request, votes)}. "
        "Nothing was done and nothing will be: the trouble may still be there."
    )


def _standing(request: ApprovalRequest, votes: tuple[Vote, ...]) -> str:
    said = len({vote.person.id for vote in votes if vote.decision == "approve"})
    return f"{said} of {max(1, request.quorum)} approvals"
