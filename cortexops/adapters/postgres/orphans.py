"""What workflows left behind: found, settled and closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from cortexops.adapters.postgres import audit, outbox
from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.domain.approval import ApprovalRequest, ApprovalState
from cortexops.domain.audit import AuditEntry
from cortexops.domain.errors import NotFound
from cortexops.domain.incident import Incident
from cortexops.domain.ledger import LedgerRow, check_ledger_step
from cortexops.domain.message import Message
from cortexops.domain.sweep import Finding
from cortexops.ports.store import ApprovalRecord
from cortexops.ports.sweeping import Unfinished

_PAGE = 500
_LEFT = """
(state = 'intent' OR state = 'applied') AND (swept_at IS NULL OR (
    state = 'applied' AND body #>> '{change,verb}' = 'propose'
    AND now() - swept_at > greatest(interval '2 minutes', least(interval '3 hours', (swept_at - updated_at) / 20))
))
"""
# A pull request is looked at until somebody has decided: ever more seldom, the longer that takes.
_UNFINISHED = f"""
WITH wanted AS (
    SELECT id FROM incidents WHERE ended_at IS NULL
    UNION SELECT incident_id FROM ledger WHERE {_LEFT}
    UNION SELECT incident_id FROM approvals WHERE state = 'pending'
)
SELECT i.ordinal, i.body, (SELECT count(*) FROM ledger WHERE incident_id = i.id AND {_LEFT}) AS rows
FROM wanted JOIN incidents i ON i.id = wanted.id
WHERE i.ordinal > :after ORDER BY i.ordinal LIMIT :most
"""
_UNSWEPT = f"SELECT body FROM ledger WHERE incident_id = :id AND {_LEFT} ORDER BY attempt, step"
_LOOK_AGAIN = """
UPDATE ledger SET swept_at = now() WHERE operation_id = :operation AND state = 'applied'
    AND body #>> '{change,verb}' = 'propose'
"""
_PENDING = "SELECT body FROM approvals WHERE incident_id = :id AND state = 'pending' ORDER BY id"
_SWEEP = """
UPDATE ledger SET state = :state, updated_at = :at, swept_at = CASE WHEN :settled THEN now() END,
    body = CAST(:body AS jsonb)
WHERE operation_id = :operation
"""
_END = """
UPDATE incidents SET state = :state, updated_at = :at, ended_at = :at, body = CAST(:body AS jsonb)
WHERE id = :id
"""
_VOID = "UPDATE approvals SET state = 'void' WHERE id = :id AND state = 'pending'"


class OrphanBook:
    """The part of the store that the sweeper works with."""

    _database: Database
    _notifiers: tuple[str, ...]

    async def unfinished_incidents(self) -> AsyncIterator[Unfinished]:
        after = 0
        while True:
            async with self._database.begin() as connection:
                found = await rows(connection, _UNFINISHED, after=after, most=_PAGE)
            for item in found:
                yield Unfinished(Incident.model_validate(item["body"]), int(item["rows"]))
            if len(found) < _PAGE:
                return
            after = found[-1]["ordinal"]

    async def run_is_known(self, key: str, run_id: str) -> bool:
        async with self._database.begin() as connection:
            found = await row(
                connection,
                "SELECT id FROM incidents WHERE key = :key AND run_id = :run_id",
                key=clean(key),
                run_id=run_id,
            )
        return found is not None

    async def unswept(self, incident_id: str) -> Sequence[LedgerRow]:
        async with self._database.begin() as connection:
            found = await rows(connection, _UNSWEPT, id=incident_id)
        return [LedgerRow.model_validate(item["body"]) for item in found]

    async def pending_approvals(self, incident_id: str) -> Sequence[ApprovalRecord]:
        async with self._database.begin() as connection:
            found = await rows(connection, _PENDING, id=incident_id)
        requests = [ApprovalRequest.model_validate(item["body"]) for item in found]
        return [ApprovalRecord(request, ApprovalState.PENDING, []) for request in requests]

    async def sweep_row(
        self, row: LedgerRow, finding: Finding, entries: Sequence[AuditEntry], messages: Sequence[Message]
    ) -> bool:
        async with self._database.begin() as connection:
            known = await rows(
                connection,
                "SELECT body FROM ledger WHERE operation_id = :id AND (swept_at IS NULL "
                "OR body #>> '{change,verb}' = 'propose') FOR UPDATE",
                id=row.operation_id,
            )
            if not known or LedgerRow.model_validate(known[0]["body"]).state is not row.state:
                return False
            state = row.state
            for step in finding.steps:
                check_ledger_step(state, step)
                state = step
            at = max([row.updated_at, *(entry.at for entry in entries)])
            settled = row.model_copy(update={"state": state, "detail": finding.detail, "updated_at": at})
            await run(
                connection,
                _SWEEP,
                operation=row.operation_id,
                state=state.value,
                at=at,
                settled=finding.outcome.settled,
                body=document(settled),
            )
            await outbox.queue(connection, self._notifiers, messages)
            await audit.append(connection, entries)
        return True

    async def look_again(self, operation_id: str) -> None:
        async with self._database.begin() as connection:
            await run(connection, _LOOK_AGAIN, operation=operation_id)

    async def end_orphan(
        self,
        incident: Incident,
        entries: Sequence[AuditEntry],
        messages: Sequence[Message],
        void: Sequence[tuple[str, AuditEntry, Message]],
    ) -> bool:
        """Raises `NotFound`."""
        async with self._database.begin() as connection:
            known = await row(
                connection, "SELECT ended_at FROM incidents WHERE id = :id FOR UPDATE", id=incident.id
            )
            if known is None:
                raise NotFound(f"incident {incident.id} was not found")
            written: list[AuditEntry] = []
            told: list[Message] = []
            for approval, entry, message in void:
                if await run(connection, _VOID, id=approval):
                    written.append(entry)
                    told.append(message)
            closing = known["ended_at"] is None
            if closing:
                await run(
                    connection,
                    _END,
                    id=incident.id,
                    state=incident.state.value,
                    at=incident.updated_at,
                    body=document(incident),
                )
                written += entries
                told += messages
            await outbox.queue(connection, self._notifiers, told)
            await audit.append(connection, written)
        return closing
