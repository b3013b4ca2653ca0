"""Leases on partitions, and the one transaction in which messages are settled.

The database's clock rules. A lease passes on by raising its epoch; a settlement names the epoch that it was
made under and changes nothing under another, so two owners can never both record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.domain.correlation import STREAM_LIMIT, Fate
from cortexops.domain.partitions import Account, Claim, Entry, Lease, Settlement, fair_share
from cortexops.domain.signal import FateReason, SignalFate
from cortexops.ports.partitions import Fenced, Shared

_MOST_PLACES = 512  # publishers of a partition that are remembered
_UNDIVIDED = -1
"""The number under which is booked what cannot be told to belong to a partition."""

_HERE = """
INSERT INTO correlators (name, expires_at) VALUES (:owner, now() + make_interval(secs => :seconds))
ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at
"""
_FORGET = "DELETE FROM correlators WHERE expires_at < now()"
_MEMBERS = "SELECT name FROM correlators"
_KNOWN = "SELECT count(*) AS known FROM partitions WHERE stream = :stream AND number >= 0"
_MAKE = """
INSERT INTO partitions (stream, number) SELECT :stream, number FROM generate_series(0, :last) AS number
ON CONFLICT DO NOTHING
"""
_CLAIMS = """
SELECT number, CASE WHEN expires_at > now() THEN owner ELSE '' END AS owner FROM partitions
WHERE stream = :stream AND number >= 0 ORDER BY number FOR UPDATE
"""
_KEEP = """
UPDATE partitions SET expires_at = now() + make_interval(secs => :seconds)
WHERE stream = :stream AND number = ANY(:numbers)
"""
_TAKE = """
UPDATE partitions SET owner = :owner, epoch = epoch + 1, expires_at = now() + make_interval(secs => :seconds)
WHERE stream = :stream AND number = ANY(:numbers)
RETURNING number, epoch, floor, places,
    (SELECT array_agg(ARRAY[lower(part), upper(part)]) FROM unnest(above) AS part) AS above
"""
_RELEASE = """
UPDATE partitions SET owner = '', expires_at = '-infinity'
WHERE stream = :stream AND number = :number AND owner = :owner AND (epoch = :epoch OR :epoch < 0)
"""
_LEAVE = "UPDATE partitions SET owner = '', expires_at = '-infinity' WHERE owner = :owner"
_SETTLE = """
UPDATE partitions SET
    floor = greatest(floor, :floor),
    above = (above + CAST(:settled AS int8multirange))
        * int8multirange(int8range(greatest(floor, :floor) + 1, NULL)),
    messages = messages + :messages, discarded_messages = discarded_messages + :discarded,
    places = CAST(:places AS jsonb)
WHERE stream = :stream AND number = :number AND epoch = :epoch
"""
_COUNT = """
INSERT INTO fate_counts (stream, number, fate, reason, signals)
SELECT :stream, :number, fate, reason, signals
FROM unnest(CAST(:fates AS text[]), CAST(:reasons AS text[]), CAST(:signals AS bigint[]))
    AS new (fate, reason, signals)
ON CONFLICT (stream, number, fate, reason) DO UPDATE SET signals = fate_counts.signals + excluded.signals
"""
_COPY = "COPY signal_log (signal_id, fate, reason, incident_key, body) FROM STDIN"
_DISCARDED = """
INSERT INTO partitions (stream, number, discarded_messages) VALUES (:stream, :number, :messages)
ON CONFLICT (stream, number) DO UPDATE
SET discarded_messages = partitions.discarded_messages + excluded.discarded_messages
"""
_SUMS = """
SELECT coalesce(sum(messages), 0) AS messages, coalesce(sum(discarded_messages), 0) AS discarded
FROM partitions WHERE stream = :stream
"""
_FATES = """
SELECT fate, reason, sum(signals) AS signals FROM fate_counts WHERE stream = :stream GROUP BY fate, reason
"""
_OWNERS = """
SELECT number, CASE WHEN expires_at > now() THEN owner ELSE '' END AS owner, epoch, floor FROM partitions
WHERE stream = :stream AND number >= 0 ORDER BY number
"""


class Partitions:
    """The part of the store that shares out the stream and keeps its books."""

    _database: Database

    async def share(self, stream: str, owner: str, partitions: int, ttl: timedelta) -> Shared:
        seconds = ttl.total_seconds()
        async with self._database.begin() as connection:
            await run(connection, _HERE, owner=owner, seconds=seconds)
            await run(connection, _FORGET)
            known = await row(connection, _KNOWN, stream=stream)
            if known is None or known["known"] < partitions:
                await run(connection, _MAKE, stream=stream, last=partitions - 1)
            members = [item["name"] for item in await rows(connection, _MEMBERS)]
            claims = [
                Claim(item["number"], item["owner"])
                for item in await rows(connection, _CLAIMS, stream=stream)
            ]
            share = fair_share(owner, members, claims)
            held = [*share.keep, *share.release]
            await run(connection, _KEEP, stream=stream, numbers=held, seconds=seconds)
            taken = await rows(
                connection, _TAKE, stream=stream, owner=owner, numbers=list(share.take), seconds=seconds
            )
        return Shared([_lease(stream, item) for item in taken], held, list(share.release))

    async def release(self, lease: Lease, owner: str) -> None:
        async with self._database.begin() as connection:
            await run(
                connection,
                _RELEASE,
                stream=lease.stream,
                number=lease.partition,
                epoch=lease.epoch,
                owner=owner,
            )

    async def leave(self, owner: str) -> None:
        async with self._database.begin() as connection:
            await run(connection, "DELETE FROM correlators WHERE name = :owner", owner=owner)
            await run(connection, _LEAVE, owner=owner)

    async def record_settlement(self, lease: Lease, settlement: Settlement) -> None:
        async with self._database.begin() as connection:
            places = list(settlement.places.items())[-_MOST_PLACES:]  # the latest
            touched = await run(
                connection,
                _SETTLE,
                stream=lease.stream,
                number=lease.partition,
                epoch=lease.epoch,
                floor=settlement.floor,
                settled=_multirange(settlement.sequences),
                messages=len(settlement.sequences),
                discarded=settlement.discarded_messages,
                places=json.dumps(dict(places)),
            )
            if not touched:
                raise Fenced(f"partition {lease.partition} has passed to another correlator")
            await self._count(connection, lease.stream, lease.partition, settlement.counts)
            await _log(connection, settlement.entries)

    async def discarded(self, stream: str, messages: int) -> None:
        async with self._database.begin() as connection:
            await run(connection, _DISCARDED, stream=stream, number=_UNDIVIDED, messages=messages)
            await self._count(connection, stream, _UNDIVIDED, {STREAM_LIMIT: messages})

    @staticmethod
    async def _count(
        connection: AsyncConnection, stream: str, number: int, counts: Mapping[Fate, int]
    ) -> None:
        if counts:
            await run(
                connection,
                _COUNT,
                stream=stream,
                number=number,
                fates=[fate.fate.value for fate in counts],
                reasons=[fate.reason.value for fate in counts],
                signals=list(counts.values()),
            )

    async def account(self, stream: str) -> Account:
        async with self._database.snapshot() as connection:
            sums = await row(connection, _SUMS, stream=stream)
            fates = await rows(connection, _FATES, stream=stream)
            owners = await rows(connection, _OWNERS, stream=stream)
        assert sums is not None
        return Account(
            messages=int(sums["messages"]),
            discarded_messages=int(sums["discarded"]),
            fates={
                Fate(SignalFate(item["fate"]), FateReason(item["reason"])): int(item["signals"])
                for item in fates
            },
            floors={item["number"]: item["floor"] for item in owners},
        )

    async def owners(self, stream: str) -> Sequence[tuple[int, str, int]]:
        async with self._database.begin() as connection:
            found = await rows(connection, _OWNERS, stream=stream)
        return [(item["number"], item["owner"], item["epoch"]) for item in found]


def _lease(stream: str, item: Mapping[str, Any]) -> Lease:
    return Lease(
        stream=stream,
        partition=item["number"],
        epoch=item["epoch"],
        floor=item["floor"],
        above=tuple((first, end) for first, end in item["above"] or ()),
        places={name: (message, signal) for name, (message, signal) in item["places"].items()},
    )


def _multirange(sequences: Sequence[int]) -> str:
    """Positions as the text of a multirange, consecutive ones joined."""
    parts: list[list[int]] = []
    for sequence in sorted(sequences):
        if parts and parts[-1][1] == sequence:
            parts[-1][1] = sequence + 1
        else:
            parts.append([sequence, sequence + 1])
    return "{" + ",".join(f"[{first},{end})" for first, end in parts) + "}"


async def _log(connection: AsyncConnection, entries: Sequence[Entry]) -> None:
    """Copied in one stream: ten times as fast as inserting."""
    if not entries:
        return
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    async with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        for entry in entries:
            fate, reason = entry.fate
            await copy.write_row((entry.signal_id, fate.value, reason.value, entry.key, entry.body))
