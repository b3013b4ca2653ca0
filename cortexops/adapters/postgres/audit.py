"""Appending to and reading the audit chains."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.anchors import AnchorBook
from cortexops.adapters.postgres.audit_archive import (
    Archive,
    Written,
    become_archivist,
    let_go,
    read_archive,
    ripe,
    write_archive,
)
from cortexops.adapters.postgres.audit_check import Checked, check_rows, find_faults
from cortexops.adapters.postgres.audit_cursor import PATIENCE, settled
from cortexops.adapters.postgres.database import Database, row, rows, run, streamed
from cortexops.adapters.postgres.documents import clean
from cortexops.domain.audit import (
    PLATFORM,
    START,
    AuditEntry,
    AuditEvent,
    AuditType,
    ChainFault,
    resting,
    seal,
    sealed_body,
)
from cortexops.domain.errors import IntegrityError, PermanentError
from cortexops.domain.ids import canonical_json
from cortexops.domain.outgoing import WITHHELD, Destination, Withheld, outgoing, outgoing_value
from cortexops.metrics import count_masked

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
_CHECKPOINT = """
SELECT number, hash FROM archive_checkpoints WHERE chain = :chain ORDER BY number DESC LIMIT 1
"""
_LAG = "SELECT count(*) AS n FROM audit_events WHERE cursor > :after"
_EXPORT = """
SELECT cursor, body, hash FROM audit_events WHERE cursor > :after AND cursor <= :last
ORDER BY cursor LIMIT :most
"""


def _event(found: Mapping[str, Any]) -> AuditEvent:
    return AuditEvent(**json.loads(found["body"]), hash=found["hash"])


def _body(event: AuditEvent) -> str:
    """The text that the event's hash is taken over."""
    return canonical_json(sealed_body(event))


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
        return seal(resting(cleaned(entry)), number=number, previous_hash=previous)
    except ValueError as error:
        raise PermanentError(f"audit entry {entry.type} cannot be written as JSON: {error}") from None


def cleaned(entry: AuditEntry) -> AuditEntry:
    """The entry without secrets in what it tells. What cannot be checked is withheld, the entry itself stays."""
    try:
        detail = outgoing(entry.detail, Destination.AUDIT, count=count_masked)
        data = outgoing_value(entry.data, Destination.AUDIT, count=count_masked)
    except Withheld:
        detail, data = WITHHELD, {}
    return entry.model_copy(update={"detail": detail, "data": data})


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


class AuditTrail(AnchorBook):
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

    async def export(
        self, *, after: int = 0, most: int = 10_000, patience: float = PATIENCE
    ) -> AsyncIterator[tuple[int, AuditEvent]]:
        """Ends at the newest event of the moment when it starts. Whoever asks again after the last cursor
        misses nothing: writers that are under way are waited for, `patience` seconds, and when one of them
        takes longer the export ends before the first event that may be missing."""
        last, _ = await settled(self._database, after=after, patience=patience)
        async with (
            self._database.snapshot() as connection,
            streamed(connection, _EXPORT, after=after, last=last, most=most) as found,
        ):
            async for item in found:
                yield item["cursor"], _event(item)

    async def export_lag(self, after: int) -> int:
        """How many events were recorded after this cursor."""
        async with self._database.begin() as connection:
            found = await row(connection, _LAG, after=after)
        return int(found["n"]) if found else 0

    async def verify(self, *, chain: str | None = None) -> tuple[int, list[ChainFault]]:
        """Reads every row once, in one state of the database; holds one chain in memory at a time."""
        checked = await self.examine(chain=chain)
        return checked.events, checked.faults

    async def examine(
        self, *, chain: str | None = None, anchor: str = "", archives: Sequence[Archive] = ()
    ) -> Checked:
        """As `verify`: of one chain, against an anchor that was kept outside, with archives of old rows.

        Raises `InvalidInput` when `anchor` is none.
        """
        async with self._database.snapshot() as connection:
            return await find_faults(connection, only=chain, kept=anchor, archives=archives)

    async def prune(self, before: datetime, folder: Path, *, actor: str, now: datetime) -> Written | None:
        """Move the rows of incidents that ended before then into a new file of the folder; None: none is ripe.

        The file is on disk, read again and free of faults before a row goes. Interrupted, it leaves the rows
        where they are, and perhaps a file that nothing refers to. At most 5,000 chains go at once. Raises
        `IntegrityError` when a chain has a fault, `PermanentError` when this login may not prune.
        """
        async with self._database.begin() as connection:
            await become_archivist(connection)
            wanted = await ripe(connection, before)
        if not wanted:
            return None
        written = await write_archive(self._database, wanted, folder, before)
        try:
            await self._prune(written, before, actor, now)
        except PermanentError:
            written.path.unlink()
            raise
        return written

    async def _prune(self, written: Written, before: datetime, actor: str, now: datetime) -> None:
        archive = read_archive(written.path)
        async with self._database.begin() as connection:
            await become_archivist(connection)
            for chain, end in written.ends.items():
                after = await row(connection, _CHECKPOINT, chain=chain)
                place = (int(after["number"]), str(after["hash"])) if after else START
                for fault in check_rows(archive.chains[chain], head=end, after=place):
                    raise IntegrityError(f"{fault.chain} #{fault.number}: {fault.fault}; nothing was moved")
            await let_go(connection, written)
            await append(connection, [_archived(written, before, actor, now)])


def _archived(written: Written, before: datetime, actor: str, now: datetime) -> AuditEntry:
    data = {
        "archive": written.digest,
        "name": written.path.name,
        "rows": written.rows,
        "chains": len(written.ends),
        "before": before.isoformat(),
    }
    entry = AuditEntry(
        chain=PLATFORM,
        type=AuditType.ARCHIVED,
        reason="retention",
        detail=f"{written.rows} rows of {len(written.ends)} chains went into {written.path.name}",
        actor=actor,
        at=now,
        data=data,
        idempotency_key=f"archive:{written.digest}",
    )
    return resting(entry, sorted([chain, *end] for chain, end in written.ends.items()))
