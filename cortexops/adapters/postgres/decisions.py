"""Ledger, approvals and postmortems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres import audit, outbox
from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote
from cortexops.domain.audit import AuditEntry, resting
from cortexops.domain.errors import Conflict, NotFound
from cortexops.domain.ledger import LedgerRow, LedgerState, check_ledger_step
from cortexops.domain.message import Message
from cortexops.domain.postmortem import POSTMORTEM_STEPS, Postmortem, PostmortemState
from cortexops.domain.resource import ResourceRef
from cortexops.ports.store import ApprovalRecord

_INTEND = """
INSERT INTO ledger (operation_id, incident_id, attempt, step, state, created_at, updated_at, body)
VALUES (:operation, :incident, :attempt, :step, :state, :created, :updated, CAST(:body AS jsonb))
ON CONFLICT (operation_id) DO NOTHING
"""
_UNFINISHED = """
SELECT l.body FROM ledger l JOIN incidents i ON i.id = l.incident_id
WHERE l.state = 'unknown' OR (l.state IN ('intent', 'applied') AND i.ended_at IS NOT NULL)
ORDER BY l.created_at
"""
_VERIFIED = """
SELECT body FROM ledger WHERE state = 'verified' AND body #> '{change,target}' = CAST(:target AS jsonb)
ORDER BY updated_at DESC, operation_id LIMIT :most
"""
_VOTES_ON = "SELECT body FROM approval_votes WHERE approval_id = :id ORDER BY ordinal"


class Ledger:
    """The part of the store that knows what was done to clusters."""

    _database: Database

    async def intend(self, row: LedgerRow, entry: AuditEntry) -> LedgerRow:
        """Raises `Conflict` when the incident has ended: a change that was begun late must not be made."""
        async with self._database.begin() as connection:
            await _still_open(connection, row)
            added = await run(
                connection,
                _INTEND,
                operation=row.operation_id,
                incident=row.incident_id,
                attempt=row.attempt,
                step=row.step,
                state=row.state.value,
                created=row.created_at,
                updated=row.updated_at,
                body=document(row),
            )
            if added:
                on = {
                    "plan": row.plan_hash,
                    "change": row.change.model_dump(mode="json"),
                    "live": row.snapshot,
                }
                await audit.append(connection, [resting(entry, on)])
                return row
            known = await _ledger_row(connection, row.operation_id)
            assert known is not None
            return known

    async def settle(
        self, operation_id: str, state: LedgerState, detail: str, entry: AuditEntry
    ) -> LedgerRow:
        async with self._database.begin() as connection:
            known = await _ledger_row(connection, operation_id, lock=True)
            if known is None:
                raise NotFound(f"the ledger has no row {operation_id}")
            check_ledger_step(known.state, state)
            if known.state is state:
                await audit.append(connection, [entry])
                return known
            settled = known.model_copy(update={"state": state, "detail": detail, "updated_at": entry.at})
            await run(
                connection,
                "UPDATE ledger SET state = :state, updated_at = :updated, body = CAST(:body AS jsonb) "
                "WHERE operation_id = :operation",
                operation=operation_id,
                state=state.value,
                updated=settled.updated_at,
                body=document(settled),
            )
            await audit.append(connection, [entry])
            return settled

    async def row(self, operation_id: str) -> LedgerRow | None:
        async with self._database.begin() as connection:
            return await _ledger_row(connection, operation_id)

    async def rows_of(self, incident_id: str) -> list[LedgerRow]:
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                "SELECT body FROM ledger WHERE incident_id = :id ORDER BY attempt, step",
                id=incident_id,
            )
        return [LedgerRow.model_validate(item["body"]) for item in found]

    async def verified_changes(self, target: ResourceRef, *, most: int = 20) -> list[LedgerRow]:
        async with self._database.begin() as connection:
            found = await rows(connection, _VERIFIED, target=document(target), most=most)
        return [LedgerRow.model_validate(item["body"]) for item in found]

    async def unfinished(self) -> list[LedgerRow]:
        async with self._database.begin() as connection:
            found = await rows(connection, _UNFINISHED)
        return [LedgerRow.model_validate(item["body"]) for item in found]


async def _still_open(connection: AsyncConnection, wanted: LedgerRow) -> None:
    """Holds the end of the incident off until the intent is written."""
    found = await row(
        connection,
        "SELECT ended_at, EXISTS (SELECT FROM ledger WHERE operation_id = :operation) AS known "
        "FROM incidents WHERE id = :id FOR SHARE",
        id=wanted.incident_id,
        operation=wanted.operation_id,
    )
    if found is not None and found["ended_at"] is not None and not found["known"]:
        raise Conflict(f"{wanted.incident_id} has ended: nothing more is changed for it")


async def _ledger_row(
    connection: AsyncConnection, operation_id: str, *, lock: bool = False
) -> LedgerRow | None:
    sql = "SELECT body FROM ledger WHERE operation_id = :id" + (" FOR UPDATE" if lock else "")
    found = await row(connection, sql, id=operation_id)
    return LedgerRow.model_validate(found["body"]) if found else None


class Approvals:
    """The part of the store that keeps what people were asked and what they said."""

    _database: Database
    _notifiers: tuple[str, ...]

    async def request_approval(self, request: ApprovalRequest, entry: AuditEntry, message: Message) -> None:
        """Raises `Conflict` when another change was asked for under this id."""
        async with self._database.begin() as connection:
            added = await run(
                connection,
                "INSERT INTO approvals (id, incident_id, state, requested_at, body) "
                "VALUES (:id, :incident, 'pending', :at, CAST(:body AS jsonb)) ON CONFLICT DO NOTHING",
                id=request.id,
                incident=request.incident_id,
                at=request.requested_at,
                body=document(request),
            )
            if not added:
                _, known = await _locked_approval(connection, request.id)
                if known.digest != request.digest:
                    raise Conflict(f"{request.id} asks for another change already")
            await outbox.queue(connection, self._notifiers, [message])
            await audit.append(connection, [resting(entry, request.digest)])

    async def record_vote(self, vote: Vote, entry: AuditEntry) -> None:
        """Raises `NotFound` when there is no such approval."""
        async with self._database.begin() as connection:
            await run(
                connection,
                "INSERT INTO approval_votes (approval_id, person, decision, body) "
                "VALUES (:approval, :person, :decision, CAST(:body AS jsonb)) ON CONFLICT DO NOTHING",
                approval=vote.approval_id,
                person=clean(vote.person.id),
                decision=vote.decision.value,
                body=document(vote),
            )
            await audit.append(connection, [resting(entry, vote.digest, vote.decision.value)])

    async def settle_approval(
        self, approval_id: str, state: ApprovalState, entry: AuditEntry, message: Message
    ) -> None:
        """Raises `NotFound`, or `Conflict` when it has ended otherwise."""
        async with self._database.begin() as connection:
            present, request = await _locked_approval(connection, approval_id)
            if present is not ApprovalState.PENDING and present is not state:
                raise Conflict(f"{approval_id} is {present} already and cannot become {state}")
            await run(
                connection,
                "UPDATE approvals SET state = :state WHERE id = :id",
                id=approval_id,
                state=state.value,
            )
            await outbox.queue(connection, self._notifiers, [message])
            votes = await rows(connection, _VOTES_ON, id=approval_id)
            await audit.append(connection, [resting(entry, request.digest, [v["body"] for v in votes])])

    async def approval(self, approval_id: str) -> ApprovalRecord | None:
        async with self._database.begin() as connection:
            found = await rows(connection, "SELECT state, body FROM approvals WHERE id = :id", id=approval_id)
            records = await _with_votes(connection, found)
        return records[0] if records else None

    async def approvals(self, *, state: ApprovalState | None = None, most: int = 100) -> list[ApprovalRecord]:
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                "SELECT state, body FROM approvals WHERE CAST(:state AS text) IS NULL OR state = :state "
                "ORDER BY requested_at DESC, id DESC LIMIT :most",
                state=state.value if state else None,
                most=most,
            )
            return await _with_votes(connection, found)


async def _locked_approval(
    connection: AsyncConnection, approval_id: str
) -> tuple[ApprovalState, ApprovalRequest]:
    found = await row(
        connection, "SELECT state, body FROM approvals WHERE id = :id FOR UPDATE", id=approval_id
    )
    if found is None:
        raise NotFound(f"approval {approval_id} was not found")
    return ApprovalState(found["state"]), ApprovalRequest.model_validate(found["body"])


async def _with_votes(connection: AsyncConnection, found: Any) -> list[ApprovalRecord]:
    requests = [
        (ApprovalRequest.model_validate(item["body"]), ApprovalState(item["state"])) for item in found
    ]
    votes: dict[str, list[Vote]] = {}
    for item in await rows(
        connection,
        "SELECT approval_id, body FROM approval_votes WHERE approval_id = ANY(:ids) ORDER BY ordinal",
        ids=[request.id for request, _ in requests],
    ):
        votes.setdefault(item["approval_id"], []).append(Vote.model_validate(item["body"]))
    return [ApprovalRecord(request, state, votes.get(request.id, [])) for request, state in requests]


class Postmortems:
    """The part of the store that keeps postmortems."""

    _database: Database

    async def save_postmortem(self, postmortem: Postmortem, entry: AuditEntry) -> None:
        async with self._database.begin() as connection:
            added = await run(
                connection,
                "INSERT INTO postmortems (id, incident_id, state, body) "
                "VALUES (:id, :incident, :state, CAST(:body AS jsonb)) ON CONFLICT DO NOTHING",
                id=postmortem.id,
                incident=postmortem.incident_id,
                state=postmortem.state.value,
                body=document(postmortem),
            )
            if added:
                await audit.append(connection, [entry])

    async def advance_postmortem(
        self, postmortem_id: str, to: PostmortemState, entry: AuditEntry
    ) -> Postmortem:
        async with self._database.begin() as connection:
            found = await row(
                connection, "SELECT body FROM postmortems WHERE id = :id FOR UPDATE", id=postmortem_id
            )
            if found is None:
                raise NotFound(f"postmortem {postmortem_id} was not found")
            present = Postmortem.model_validate(found["body"])
            if present.state is to and await audit.recorded(connection, entry):
                return present  # the same call again
            if POSTMORTEM_STEPS.get(present.state) is not to:
                raise Conflict(f"a postmortem that is {present.state} cannot become {to}")
            advanced = present.model_copy(update={"state": to})
            await run(
                connection,
                "UPDATE postmortems SET state = :state, body = CAST(:body AS jsonb) WHERE id = :id",
                id=postmortem_id,
                state=to.value,
                body=document(advanced),
            )
            await audit.append(connection, [entry])
            return advanced

    async def postmortem(self, postmortem_id: str) -> Postmortem | None:
        async with self._database.begin() as connection:
            found = await row(connection, "SELECT body FROM postmortems WHERE id = :id", id=postmortem_id)
        return _postmortem(found) if found else None

    async def postmortems(self, *, most: int = 100) -> list[Postmortem]:
        async with self._database.begin() as connection:
            found = await rows(
                connection, "SELECT body FROM postmortems ORDER BY created_at DESC LIMIT :most", most=most
            )
        return [_postmortem(item) for item in found]


def _postmortem(found: Mapping[str, Any]) -> Postmortem:
    return Postmortem.model_validate(found["body"])
