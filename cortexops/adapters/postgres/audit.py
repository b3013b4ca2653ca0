"""Appending to and reading the audit chains."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.audit_check import find_faults
from cortexops.adapters.postgres.database import Database, row, rows, run, streamed
from cortexops.adapters.postgres.documents import clean
from cortexops.domain.audit import AuditEntry, AuditEvent, AuditType, ChainFault, seal
from cortexops.domain.errors import PermanentError
from cortexops.domain.ids import canonical_json

_KNOWN = """
SELECT e.body, e.hash FROM unnest(CAST(:chains AS text[]), CAST(:keys AS text[])) AS asked (chain, key)
JOIN audit_events e ON e.chain = asked.chain COLLATE "C" AND e.idempotency_key = asked.key
"""
# WITH ORDINALITY: the events of one chain must go in in their order, each moves the head on by one.
_INSERT = """
INSERT INTO audit_events (chain, number, idempotency_key, type, at, body, previous_hash, hash)
SELECT chain, number, key, type, at, body, previous, hash
FROM unnest(CAST(:chains AS text[]), CAST(:numbers AS bigint[]), CAST(:keys AS text[]),
            CAST(:types AS text[]), CAST(:times AS timestamptz[]), CAST(:bodies AS text[]),
            CAST(:previous AS text[]), CAST(:hashes AS text[])) WITH ORDINALITY
    AS new (chain, number, key, type, at, body, previous, hash, place)
ORDER BY place
RETURNING cursor, chain, number
"""
_VIOLATION = "INSERT INTO policy_violations VALUES (:cursor, :chain, :at, :rule, :detail)"
_LAST_CURSOR = "SELECT coalesce(max(cursor), 0) AS last FROM audit_events"
_WAIT_FOR_WRITERS = "SELECT pg_advisory_xact_lock(7021967)"
_EXPORT = """
SELECT cursor, body, hash FROM audit_events WHERE cursor > :after AND cursor <= :last
ORDER BY cursor LIMIT :most
"""


def _event(found: Mapping[str, Any]) -> AuditEvent:
    return AuditEvent(**json.loads(found["body"]), hash=found["hash"])


def _body(event: AuditEvent) -> str:
    """The text that the event's hash is taken over."""
    return canonical_json(event.model_dump(mode="json", exclude={"hash"}))


async def append(connection: AsyncConnection, entries: Sequence[AuditEntry]) -> list[AuditEvent]:
    """Add the entries within the caller's transaction, as its last writing step.

    Known (chain, idempotency key) pairs are answered with what is there. The heads stay locked until the
    transaction ends; all writers lock them in one order, so they wait for each other but never in a circle.
    """
    if not entries:
        return []
    locked = await rows(
        connection,
        "SELECT chain, number, hash FROM audit_lock_heads(CAST(:chains AS text[]))",
        chains=[entry.chain for entry in entries],
    )
    heads = {head["chain"]: (head["number"], head["hash"]) for head in locked}
    known = await rows(
        connection,
        _KNOWN,
        chains=[entry.chain for entry in entries],
        keys=[entry.idempotency_key for entry in entries],
    )
    events = {(event.chain, event.idempotency_key): event for event in map(_event, known)}
    added: list[AuditEvent] = []
    for entry in entries:
        place = (entry.chain, entry.idempotency_key)
        if place not in events:
            number, previous = heads[entry.chain]
            event = _sealed(entry, number + 1, previous)
            heads[entry.chain] = (event.number, event.hash)
            events[place] = event
            added.append(event)
    await _insert(connection, added)
    return [events[entry.chain, entry.idempotency_key] for entry in entries]


def _sealed(entry: AuditEntry, number: int, previous: str) -> AuditEvent:
    try:
        return seal(entry, number=number, previous_hash=previous)
    except ValueError as error:
        raise PermanentError(f"audit entry {entry.type} cannot be written as JSON: {error}") from None


async def _insert(connection: AsyncConnection, events: Sequence[AuditEvent]) -> None:
    if not events:
        return
    placed = await rows(
        connection,
        _INSERT,
        chains=[event.chain for event in events],
        numbers=[event.number for event in events],
        keys=[event.idempotency_key for event in events],
        types=[event.type.value for event in events],
        times=[event.at for event in events],
        bodies=[_body(event) for event in events],
        previous=[event.previous_hash for event in events],
        hashes=[event.hash for event in events],
    )
    cursors = {(item["chain"], item["number"]): item["cursor"] for item in placed}
    for event in events:
        if event.type is AuditType.POLICY_VIOLATION:
            await run(
                connection,
                _VIOLATION,
                cursor=cursors[event.chain, event.number],
                chain=event.chain,
                at=event.at,
                rule=clean(event.reason),
                detail=clean(event.detail),
            )


async def recorded(connection: AsyncConnection, entry: AuditEntry) -> bool:
    """Whether this entry is in its chain already."""
    found = await rows(connection, _KNOWN, chains=[entry.chain], keys=[entry.idempotency_key])
    return bool(found)


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
                "SELECT body, hash FROM audit_events WHERE chain = :chain ORDER BY number",
                chain=chain,
            )
        return [_event(item) for item in found]

    async def export(self, *, after: int = 0, most: int = 10_000) -> AsyncIterator[tuple[int, AuditEvent]]:
        """Ends at the newest event of the moment when it starts. Whoever asks again after the last cursor
        misses nothing: events whose writers are still under way are waited for."""
        async with self._database.begin() as connection:
            await run(connection, _WAIT_FOR_WRITERS)
            newest = await row(connection, _LAST_CURSOR)
        last = newest["last"] if newest else 0
        async with (
            self._database.snapshot() as connection,
            streamed(connection, _EXPORT, after=after, last=last, most=most) as found,
        ):
            async for item in found:
                yield item["cursor"], _event(item)

    async def verify(self) -> tuple[int, list[ChainFault]]:
        """Reads every row once, in one state of the database; holds one chain in memory at a time."""
        async with self._database.snapshot() as connection:
            return await find_faults(connection)
