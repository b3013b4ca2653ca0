"""Votes on their way to the workflow that asked.

The workflow alone decides whether a vote counts. What cannot be delivered does not count: no store, no
workflow or no answer is an error to the voter, never an approval.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from cortexops.contracts.incident import VOTE, VoteResult
from cortexops.domain.approval import ApprovalState, Decision, Person, Vote, VoteRefusal
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.ids import digest as sha256
from cortexops.domain.incident import Incident
from cortexops.domain.people import VoteNotCounted
from cortexops.ports.store import ApprovalRecord


class VoteStore(Protocol):
    """What is needed of the store."""

    async def approval(self, approval_id: str) -> ApprovalRecord | None: ...

    async def incident(self, incident_id: str) -> Incident | None: ...


def update_id(approval_id: str, person: Person, decision: Decision) -> str:
    """The same click, however often it arrives and from wherever, has the same id: it is one vote."""
    return f"vote-{sha256([approval_id, person.id, decision.value])[:32]}"


class VoteBox:
    """Sends votes as workflow Updates and waits until they are written down."""

    def __init__(self, client: Client, store: VoteStore, *, timeout_seconds: float = 10) -> None:
        self._client = client
        self._store = store
        self._timeout = timedelta(seconds=timeout_seconds)

    async def cast(
        self, approval_id: str, person: Person, decision: Decision, reason: str, digest: str
    ) -> VoteResult:
        """Deliver the vote of a person whose identity was verified; `digest` names the diff that they saw.

        Raises `VoteNotCounted` when it does not count, `TemporaryError` when that cannot be known now.
        """
        if not person.via:
            raise VoteNotCounted(VoteRefusal.ANONYMOUS)
        record = await self._store.approval(approval_id)
        incident = await self._store.incident(record.request.incident_id) if record else None
        if record is None or incident is None:
            raise VoteNotCounted(VoteRefusal.NO_SUCH_APPROVAL)
        vote = Vote(approval_id=approval_id, person=person, decision=decision, reason=reason, digest=digest)
        handle = self._client.get_workflow_handle(incident.key, run_id=incident.run_id or None)
        try:
            result: VoteResult = await handle.execute_update(
                VOTE,
                vote,
                id=update_id(approval_id, person, decision),
                result_type=VoteResult,
                rpc_timeout=self._timeout,
            )
        except WorkflowUpdateFailedError as failed:
            raise _refused(failed.cause) from None
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            raise self._no_answer() from None
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                expired = record.state is ApprovalState.EXPIRED
                refusal = VoteRefusal.EXPIRED if expired else VoteRefusal.NOT_PENDING
                raise VoteNotCounted(refusal) from None
            raise self._no_answer() from None
        return result

    def _no_answer(self) -> TemporaryError:
        return TemporaryError(
            "The workflow of the incident did not answer, so the vote is not confirmed. Look at the approval "
            "and vote again: the same vote counts once.",
            delay=timedelta(seconds=2),
        )


def _refused(cause: BaseException | None) -> PermanentError:
    """The refusal that the workflow gave as the error's type; anything else is refused, too."""
    kind = cause.type if isinstance(cause, ApplicationError) else None
    if kind in set(VoteRefusal):
        return VoteNotCounted(VoteRefusal(kind))
    return PermanentError(f"The vote failed in the workflow: {cause}")
