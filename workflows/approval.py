"""The desk at which votes arrive: the running approval of one incident."""

from __future__ import annotations

from datetime import datetime

from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote, VoteRefusal, refuse, tally


class ApprovalDesk:
    """Holds the open request and the votes that count. Decisions are the domain's."""

    def __init__(self) -> None:
        self.request: ApprovalRequest | None = None
        self.votes: list[Vote] = []

    def ask(self, request: ApprovalRequest) -> None:
        """Open a new request; earlier votes belong to an earlier diff and are gone."""
        self.request = request
        self.votes = []

    def close(self) -> None:
        self.request = None

    def refusal(self, vote: Vote, now: datetime) -> VoteRefusal | None:
        """Why the vote may not count, or None."""
        return refuse(self.request, self.votes, vote, now=now)

    def count(self, vote: Vote) -> None:
        self.votes.append(vote)

    def state(self, now: datetime) -> ApprovalState:
        if self.request is None:
            return ApprovalState.VOID
        return tally(self.request, self.votes, now=now)

    @property
    def approvals(self) -> int:
        return len({vote.person.id for vote in self.votes if vote.decision == "approve"})
