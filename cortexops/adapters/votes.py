"""Votes on their way to the workflow that asked.

The workflow alone decides whether a vote counts. What cannot be delivered does not count: no store, no
workflow or no answer is an error to the voter, never an approval.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from cortexops.adapters.refusals import Refusals, Trail, utc_now
from cortexops.contracts.incident import VOTE, VoteResult
from cortexops.domain.approval import (
    ApprovalState,
    Decision,
    Person,
    Vote,
    VoteOutcome,
    VoteRefusal,
    agreed,
    checked_reason,
    stands,
    tally,
    too_late,
)
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.ids import digest as sha256
from cortexops.domain.incident import Incident
from cortexops.domain.people import VoteNotCounted
from cortexops.ports.store import ApprovalRecord


class VoteStore(Trail, Protocol):
    """What is needed of the store."""

    async def approval(self, approval_id: str) -> ApprovalRecord | None: ...

    async def incident(self, incident_id: str) -> Incident | None: ...


def update_id(approval_id: str, person: Person, decision: Decision) -> str:
    """The same click, however often it arrives and from wherever, has the same id: it is one vote."""
    return f"vote-{sha256([approval_id, person.id, decision.value])[:32]}"


class VoteBox:
    """Sends votes as workflow Updates and waits until they are written down."""

    def __init__(
        self,
        client: Client,
        store: VoteStore,
        *,
        timeout_seconds: float = 10,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client = client
        self._store = store
        self._timeout = timedelta(seconds=timeout_seconds)
        self._clock = clock
        self._refusals = Refusals(store)

    async def cast(
        self, approval_id: str, person: Person, decision: Decision, reason: str, digest: str
    ) -> VoteResult:
        """Deliver the vote of a person whose identity was verified; `digest` names the diff that they saw.

        The answer that this person gave already is `ALREADY_VOTED`, with how the approval stands: it counts
        once. Raises `InvalidInput` without a reason where one is needed, `VoteNotCounted` when the vote does
        not count, after that is in the audit trail, and `TemporaryError` when it cannot be known now.
        """
        reason = checked_reason(decision, reason)
        vote = Vote(approval_id=approval_id, person=person, decision=decision, reason=reason, digest=digest)
        record = await self._store.approval(approval_id)
        incident = await self._store.incident(record.request.incident_id) if record else None
        try:
            if not person.via:
                raise VoteNotCounted(VoteRefusal.ANONYMOUS)
            if record is None or incident is None:
                raise VoteNotCounted(VoteRefusal.NO_SUCH_APPROVAL)
            if stands(record.votes, vote):
                return await self._again(vote, record, incident)
            if _answered(record, vote):  # the id of the same click would hide that it is another change
                raise VoteNotCounted(too_late(record.state) or VoteRefusal.CHANGED_DIFF)
            await self._stop_first(record, incident)
            return await self._deliver(vote, record, incident)
        except VoteNotCounted as refused:
            about = incident.id if incident else ""
            await self._refusals.vote(
                approval_id, person, decision, refused.refusal, incident_id=about, digest=digest
            )
            raise

    async def _again(self, vote: Vote, record: ApprovalRecord, incident: Incident) -> VoteResult:
        """An answer that is in the books. Its workflow may have lost it when Temporal was started anew between
        the two, so it is sent once more while anything can follow on it: by its id it counts once."""
        if record.state is ApprovalState.PENDING:
            await self._stop_first(record, incident)
            await self._deliver(vote, record, incident)
        await self._refusals.vote(
            vote.approval_id, vote.person, vote.decision, VoteRefusal.ALREADY_VOTED,
            incident_id=incident.id, digest=vote.digest,
        )  # fmt: skip
        return self._standing(record)

    async def _stop_first(self, record: ApprovalRecord, incident: Incident) -> None:
        """Nobody's approval may overtake what somebody else said against the change: whoever stops it has done
        so once it is in the books, even if the workflow has lost it."""
        if record.state is ApprovalState.PENDING:
            for said in record.votes:
                if said.decision is not Decision.APPROVE:
                    await self._deliver(said, record, incident)

    def _standing(self, record: ApprovalRecord) -> VoteResult:
        """How the approval stands for somebody who has answered before. The books may be a moment behind."""
        state, request = record.state, record.request
        if state is ApprovalState.PENDING:
            state = tally(request, record.votes, now=self._clock())
        return VoteResult(
            approval_id=request.id,
            state=state,
            approvals=agreed(record.votes),
            quorum=request.quorum,
            outcome=VoteOutcome.ALREADY_VOTED,
        )

    async def _deliver(self, vote: Vote, record: ApprovalRecord, incident: Incident) -> VoteResult:
        handle = self._client.get_workflow_handle(incident.key, run_id=incident.run_id or None)
        try:
            result: VoteResult = await handle.execute_update(
                VOTE,
                vote,
                id=update_id(vote.approval_id, vote.person, vote.decision),
                result_type=VoteResult,
                rpc_timeout=self._timeout,
            )
        except WorkflowUpdateFailedError as failed:
            raise _refused(failed.cause, record) from None
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            raise self._no_answer() from None
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise VoteNotCounted(too_late(record.state) or VoteRefusal.NOT_PENDING) from None
            raise self._no_answer() from None
        return result

    def _no_answer(self) -> TemporaryError:
        return TemporaryError(
            "The workflow of the incident did not answer, so the vote is not confirmed. Look at the approval "
            "and vote again: the same vote counts once.",
            delay=timedelta(seconds=2),
        )


def _answered(record: ApprovalRecord, vote: Vote) -> bool:
    """Whether this person gave this answer, to whichever change."""
    return any((v.person.id, v.decision) == (vote.person.id, vote.decision) for v in record.votes)


def _refused(cause: BaseException | None, record: ApprovalRecord) -> PermanentError:
    """The refusal that the workflow gave as the error's type; anything else is refused, too.

    A workflow that waits for another answer by now knows nothing of this approval; the books tell how it ended.
    """
    kind = cause.type if isinstance(cause, ApplicationError) else None
    if kind not in set(VoteRefusal):
        return PermanentError(f"The vote failed in the workflow: {cause}")
    refusal = VoteRefusal(kind)
    if refusal is VoteRefusal.NO_SUCH_APPROVAL:
        refusal = too_late(record.state) or VoteRefusal.NOT_PENDING
    return VoteNotCounted(refusal)
