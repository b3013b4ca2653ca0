"""Appending to, reading and checking the audit chains."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.domain.audit import GENESIS, AuditEntry, AuditEvent, AuditType, ChainFault, seal, verify_chain
from cortexops.domain.ids import canonical_json

_COLUMNS = "cursor, chain, number, idempotency_key, type, at, body, previous_hash, hash"
_PAGE = 1000


def _event(found: Mapping[str, Any]) -> AuditEvent:
    return AuditEvent(
        **json.loads(found["body"]),
        number=found["number"],
        previous_hash=found["previous_hash"],
        hash=found["hash"],
    )


async def append(connection: AsyncConnection, entries: Sequence[AuditEntry]) -> list[AuditEvent]:
    """Add the entries within the caller's transaction. Heads are locked in order, so writers never deadlock."""
    by_chain: dict[str, list[AuditEntry]] = {}
    for entry in entries:
        by_chain.setdefault(entry.chain, []).append(entry)
    written: list[AuditEvent] = []
    for chain in sorted(by_chain):
        await run(
            connection,
            "INSERT INTO audit_heads VALUES (:chain, 0, :genesis) ON CONFLICT DO NOTHING",
            chain=chain,
            genesis=GENESIS,
        )
        head = await row(
            connection, "SELECT number, hash FROM audit_heads WHERE chain = :chain FOR UPDATE", chain=chain
        )
        assert head is not None
        number, previous = head["number"], head["hash"]
        for entry in by_chain[chain]:
            known = await row(
                connection,
                f"SELECT {_COLUMNS} FROM audit_events WHERE chain = :chain AND idempotency_key = :key",
                chain=chain,
                key=entry.idempotency_key,
            )
            if known is not None:
                written.append(_event(known))
                continue
            event = seal(entry, number=number + 1, previous_hash=previous)
            await _insert(connection, event)
            number, previous = event.number, event.hash
            written.append(event)
        await run(
            connection,
            "UPDATE audit_heads SET number = :number, hash = :hash WHERE chain = :chain",
            chain=chain,
            number=number,
            hash=previous,
        )
    return written


async def _insert(connection: AsyncConnection, event: AuditEvent) -> None:
    body = event.model_dump(mode="json", include=set(AuditEntry.model_fields))
    placed = await row(
        connection,
        "INSERT INTO audit_events (chain, number, idempotency_key, type, at, body, previous_hash, hash) "
        "VALUES (:chain, :number, :key, :type, :at, :body, :previous, :hash) RETURNING cursor",
        chain=event.chain,
        number=event.number,
        key=event.idempotency_key,
        type=event.type,
        at=event.at,
        body=canonical_json(body),
        previous=event.previous_hash,
        hash=event.hash,
    )
    if event.type is AuditType.POLICY_VIOLATION:
        assert placed is not None
        await run(
            connection,
            "INSERT INTO policy_violations VALUES (:cursor, :chain, :at, :rule, :detail)",
            cursor=placed["cursor"],
            chain=event.chain,
            at=event.at,
            rule=event.reason,
            detail=event.detail,
        )


class AuditTrail:
    """The part of the store that keeps the audit trail."""

    _database: Database

    async def append(self, entries: Sequence[AuditEntry]) -> list[AuditEvent]:
        async with self._database.begin() as connection:
            return await append(connection, entries)

    async def events(self, chain: str) -> list[AuditEvent]:
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                f"SELECT {_COLUMNS} FROM audit_events WHERE chain = :chain ORDER BY number",
                chain=chain,
            )
        return [_event(item) for item in found]

    async def export(self, *, after: int = 0, most: int = 10_000) -> AsyncIterator[tuple[int, AuditEvent]]:
        left = most
        while left > 0:
            async with self._database.begin() as connection:
                found = await rows(
                    connection,
                    f"SELECT {_COLUMNS} FROM audit_events WHERE cursor > :after ORDER BY cursor LIMIT :page",
                    after=after,
                    page=min(left, _PAGE),
                )
            for item in found:
                after = item["cursor"]
                yield after, _event(item)
            if len(found) < min(left, _PAGE):
                return
            left -= len(found)

    async def verify(self) -> tuple[int, list[ChainFault]]:
        async with self._database.begin() as connection:
            heads = await rows(connection, "SELECT chain, number, hash FROM audit_heads ORDER BY chain")
            orphans = await rows(
                connection,
                "SELECT DISTINCT chain FROM audit_events WHERE chain NOT IN (SELECT chain FROM audit_heads)",
            )
        checked = 0
        faults = [
            ChainFault(chain=o["chain"], number=0, fault="the chain's head is missing") for o in orphans
        ]
        for head in heads:
            events, bad = await self._readable(head["chain"])
            checked += len(events) + len(bad)
            faults += bad
            found = verify_chain(events, head=(head["number"], head["hash"]))
            faults += [fault.model_copy(update={"chain": head["chain"]}) for fault in found]
        return checked, faults

    async def _readable(self, chain: str) -> tuple[list[AuditEvent], list[ChainFault]]:
        """The chain's events; rows whose columns and sealed body disagree are faults of their own."""
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                f"SELECT {_COLUMNS} FROM audit_events WHERE chain = :chain ORDER BY number",
                chain=chain,
            )
        events: list[AuditEvent] = []
        faults: list[ChainFault] = []
        for item in found:
            try:
                event = _event(item)
            except ValueError:
                faults.append(ChainFault(chain=chain, number=item["number"], fault="content cannot be read"))
                continue
            columns = (item["chain"], item["idempotency_key"], item["type"], item["at"])
            if columns != (event.chain, event.idempotency_key, event.type.value, event.at):
                faults.append(
                    ChainFault(
                        chain=chain, number=item["number"], fault="columns differ from the sealed body"
                    )
                )
            events.append(event)
        return events, faults
