"""Approval of an exact change by verified, distinct people.

Identity is established before a vote gets here (a signed Slack payload, a bearer token); it is never
taken from a request's body.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, Field

from cortexops.domain.change import DiffLine
from cortexops.domain.errors import InvalidInput
from cortexops.domain.lookalikes import invisible
from cortexops.domain.resource import Frozen

LONGEST_REASON = 1000
"""Characters."""
TIMEOUT = timedelta(minutes=15)
"""Seed 002: approvals time out after 15 minutes. Then nothing is done."""


class Person(Frozen):
    """Somebody whose identity was verified, and by which means."""

    id: str = Field(min_length=1, max_length=128)
    name: str = ""
    roles: tuple[str, ...] = ()
    via: str = ""


class Decision(StrEnum):
    APPROVE = "approve"
    DENY = "deny"
    TAKE_OVER = "take_over"  # "pause, I investigate by hand"


class ApprovalState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    TAKEN_OVER = "taken_over"
    EXPIRED = "expired"
    VOID = "void"


class ApprovalRequest(Frozen):
    """What people are asked. `digest` binds the answer to the diff, the generation and the policy."""

    id: str
    incident_id: str
    action: str
    cause: str
    confidence: float
    risk: str
    diff: tuple[DiffLine, ...]
    digest: str
    policy_reasons: tuple[str, ...]
    rule: str
    quorum: int
    roles: tuple[str, ...]
    blast_radius: str
    requested_at: AwareDatetime
    expires_at: AwareDatetime
    proposed_by: str | None = None
    evidence: tuple[str, ...] = ()
    """What the cause rests on, the weightiest first; each names its fact."""


class Vote(Frozen):
    approval_id: str
    person: Person
    decision: Decision
    reason: str = Field(default="", max_length=LONGEST_REASON)
    digest: str
    """The digest of the diff that this person saw."""
    at: AwareDatetime | None = None


class VoteOutcome(StrEnum):
    """What became of an answer that was not refused."""

    COUNTED = "counted"
    ALREADY_VOTED = "already_voted"  # this very answer stands already: nothing new was counted


class VoteRefusal(StrEnum):
    """Why a vote does not count."""

    NO_SUCH_APPROVAL = "no_such_approval"
    NOT_PENDING = "not_pending"
    EXPIRED = "expired"
    VOID = "void"
    CHANGED_DIFF = "changed_diff"
    WRONG_ROLE = "wrong_role"
    PROPOSER = "proposer_may_not_approve"
    ALREADY_VOTED = "already_voted"
    ANONYMOUS = "anonymous"


def needs_reason(decision: Decision) -> bool:
    """To stop a change has to be explained to whoever comes next; to approve it the change speaks for itself."""
    return decision is not Decision.APPROVE


def checked_reason(decision: Decision, text: str) -> str:
    """The reason as it is kept. Raises `InvalidInput` for `reason` when it is missing, or too long.

    What nobody can see (blanks, zero-width characters) is no reason.
    """
    reason = text.strip()
    if needs_reason(decision) and all(invisible(one) or one.isspace() for one in reason):
        verb = decision.value.replace("_", " ")
        raise InvalidInput("reason", f"must say why: to {verb} needs a reason, the audit trail keeps it")
    if len(reason) > LONGEST_REASON:
        raise InvalidInput("reason", f"has {len(reason)} characters; {LONGEST_REASON} at most")
    return reason


def stands(votes: Sequence[Vote], vote: Vote) -> bool:
    """Whether this person gave this very answer to this very change before."""
    return any(
        (v.person.id, v.decision, v.digest) == (vote.person.id, vote.decision, vote.digest) for v in votes
    )


def agreed(votes: Iterable[Vote]) -> int:
    """How many different people approved."""
    return len({vote.person.id for vote in votes if vote.decision is Decision.APPROVE})


def refuse(
    request: ApprovalRequest | None, votes: list[Vote], vote: Vote, *, now: datetime
) -> VoteRefusal | None:
    """Why this vote may not count, or None. Roles and proposer bind approvals only: anybody may say no."""
    if request is None or request.id != vote.approval_id:
        return VoteRefusal.NO_SUCH_APPROVAL
    if not vote.person.via:
        return VoteRefusal.ANONYMOUS
    if now >= request.expires_at:
        return VoteRefusal.EXPIRED
    if tally(request, votes, now=now) is not ApprovalState.PENDING:
        return VoteRefusal.NOT_PENDING
    if vote.digest != request.digest:
        return VoteRefusal.CHANGED_DIFF
    if vote.decision is not Decision.APPROVE:
        return None
    if request.roles and not set(request.roles) & set(vote.person.roles):
        return VoteRefusal.WRONG_ROLE
    if request.proposed_by == vote.person.id:
        return VoteRefusal.PROPOSER
    if any(v.person.id == vote.person.id and v.decision is Decision.APPROVE for v in votes):
        return VoteRefusal.ALREADY_VOTED
    return None


def too_late(state: ApprovalState) -> VoteRefusal | None:
    """Why no vote counts any more on an approval that ended so; None while it waits."""
    if state is ApprovalState.PENDING:
        return None
    ended = {ApprovalState.EXPIRED: VoteRefusal.EXPIRED, ApprovalState.VOID: VoteRefusal.VOID}
    return ended.get(state, VoteRefusal.NOT_PENDING)


def foresee(
    request: ApprovalRequest, state: ApprovalState, votes: list[Vote], vote: Vote, *, now: datetime
) -> VoteRefusal | None:
    """Why this vote would not count as far as the books tell. Only the workflow's own answer is final."""
    return too_late(state) or refuse(request, votes, vote, now=now)


def still_to_answer(
    request: ApprovalRequest, votes: Sequence[Vote], people: Iterable[Person]
) -> list[Person]:
    """Who of these people may approve and has said nothing yet."""
    said = {vote.person.id for vote in votes}
    return [
        person
        for person in people
        if person.id not in said
        and person.id != request.proposed_by
        and (not request.roles or set(request.roles) & set(person.roles))
    ]


def tally(request: ApprovalRequest, votes: list[Vote], *, now: datetime) -> ApprovalState:
    """The state after these accepted votes: one denial ends it, the quorum counts distinct people.

    At least one person is needed, whatever the quorum says. A vote for another diff, by the proposer or
    without one of the roles never counts as approval, even if it got here.
    """
    if any(vote.decision is Decision.DENY for vote in votes):
        return ApprovalState.DENIED
    if any(vote.decision is Decision.TAKE_OVER for vote in votes):
        return ApprovalState.TAKEN_OVER
    approvers = {
        vote.person.id
        for vote in votes
        if vote.decision is Decision.APPROVE
        and vote.digest == request.digest
        and vote.person.via
        and vote.person.id != request.proposed_by
        and (not request.roles or set(request.roles) & set(vote.person.roles))
    }
    if len(approvers) >= max(1, request.quorum):
        return ApprovalState.APPROVED
    return ApprovalState.EXPIRED if now >= request.expires_at else ApprovalState.PENDING
