"""The desk at which votes arrive: the running approval of one incident."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from temporalio.exceptions import ActivityError, ApplicationError

from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote, VoteRefusal, refuse, tally


class ApprovalDesk:
    """Holds the open request and the votes that count. Decisions are the domain's."""

    def __init__(self) -> None:
        self.request: ApprovalRequest | None = None
        self.votes: list[Vote] = []
        self._written_first = False
        self._unwritten = 0

    def ask(self, request: ApprovalRequest, *, written_first: bool) -> None:
        """Open a new request; earlier votes belong to an earlier diff and are gone. Nothing follows on a vote
        that is not `written_first`, except in runs that began before that was so."""
        self.request = request
        self.votes = []
        self._written_first = written_first

    def close(self) -> None:
        self.request = None

    def refusal(self, vote: Vote, now: datetime) -> VoteRefusal | None:
        """Why the vote may not count, or None."""
        return refuse(self.request, self.votes, vote, now=now)

    @contextmanager
    def counting(self, vote: Vote) -> Iterator[ApprovalRequest]:
        """Count the vote, which is written down meanwhile. What the books refuse for good does not count."""
        assert self.request is not None
        self.votes.append(vote)
        self._unwritten += 1
        try:
            yield self.request
        except (ActivityError, ApplicationError):
            if self._written_first:
                self.votes = [other for other in self.votes if other is not vote]
            raise
        finally:
            self._unwritten -= 1

    @property
    def writing(self) -> bool:
        """Whether a vote that counts is not in the books yet, so that nothing may follow on it."""
        return self._written_first and self._unwritten > 0

    def state(self, now: datetime) -> ApprovalState:
        if self.request is None:
            return ApprovalState.VOID
        return tally(self.request, self.votes, now=now)

    @property
    def approvals(self) -> int:
        return len({vote.person.id for vote in self.votes if vote.decision == "approve"})
