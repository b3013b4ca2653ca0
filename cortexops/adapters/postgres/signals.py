"""Signals and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.domain.correlation import Fate
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import FateReason, Signal, SignalFate
from cortexops.ports.store import MOST_SIGNALS, SignalRecord

# Inserts are ordered by id, so that two batches with the same signals wait for each other in one direction.
_KEEP = """
INSERT INTO signals (id, body)
SELECT DISTINCT ON (id) id, CAST(body AS jsonb)
FROM unnest(CAST(:ids AS text[]), CAST(:bodies AS text[])) AS new (id, body)
ORDER BY id ON CONFLICT DO NOTHING
"""
_KNOWN = """
SELECT signal_id, max(recorded_at) AS at FROM signal_log
WHERE signal_id = ANY(string_to_array(:ids, ',')) GROUP BY signal_id
"""
_NEWEST = """
SELECT CAST(body AS jsonb) AS body, fate, reason, incident_key, recorded_at FROM signal_log
WHERE signal_id = :id ORDER BY recorded_at DESC LIMIT 1
"""
# The incident that was opened with it; else the first of the key that had not ended when it was recorded.
_INCIDENT = """
SELECT i.id FROM incidents i
LEFT JOIN incident_signals o ON o.incident_id = i.id AND o.signal_id = :signal
WHERE i.key = :key AND (i.ended_at IS NULL OR i.ended_at >= :at)
ORDER BY o.signal_id IS NULL, i.ordinal LIMIT 1
"""
# The index is in the order of bytes, so a prefix is a range of it.
_IDS = """
SELECT DISTINCT signal_id FROM signal_log
WHERE signal_id COLLATE "C" LIKE :pattern ORDER BY signal_id LIMIT :most
"""
_OF_INCIDENT = """
SELECT body FROM (
    SELECT DISTINCT ON (id) id, body FROM (
        SELECT s.id, s.body FROM incident_signals o JOIN signals s ON s.id = o.signal_id
        WHERE o.incident_id = :id
        UNION ALL
        (SELECT l.signal_id, CAST(l.body AS jsonb) FROM incidents i JOIN signal_log l ON l.incident_key = i.key
         WHERE i.id = :id AND l.fate IN ('started', 'merged') AND l.recorded_at >= i.detected_at
           AND (i.ended_at IS NULL OR l.recorded_at <= i.ended_at)
         ORDER BY l.recorded_at LIMIT :most)
    ) AS found ORDER BY id
) AS distinct_signals
ORDER BY CAST(body ->> 'started_at' AS timestamptz), id LIMIT :most
"""
_OPEN = """
SELECT i.key, i.body -> 'resource' AS resource, s.body
FROM (SELECT id, key, body FROM incidents
      WHERE ended_at IS NULL AND body -> 'resource' ->> 'cluster' = :cluster
      ORDER BY detected_at DESC LIMIT :incidents) AS i
LEFT JOIN LATERAL (
    SELECT CAST(s.body AS text) AS body FROM incident_signals o JOIN signals s ON s.id = o.signal_id
    WHERE o.incident_id = i.id LIMIT :most
) AS s ON true
"""
_MOST_OPEN = 1000
_MOST_OF_EACH = 200


async def keep(connection: AsyncConnection, signals: Sequence[Signal]) -> None:
    """Store the signals that are not there yet, within the caller's transaction."""
    await run(
        connection,
        _KEEP,
        ids=[signal.id for signal in signals],
        bodies=[document(signal) for signal in signals],
    )


class SignalBook:
    """The part of the store that knows every signal's fate."""

    _database: Database

    async def known_signals(self, ids: Sequence[str]) -> dict[str, datetime]:
        async with self._database.begin() as connection:
            # One text: the driver quotes the elements of a list one by one, and there are thousands.
            found = await rows(connection, _KNOWN, ids=",".join(ids))
        return {item["signal_id"]: item["at"] for item in found}

    async def open_signals(self, cluster: str) -> dict[str, tuple[ResourceRef, list[str]]]:
        async with self._database.begin() as connection:
            listed = await rows(
                connection, _OPEN, cluster=clean(cluster), incidents=_MOST_OPEN, most=_MOST_OF_EACH
            )
        found: dict[str, tuple[ResourceRef, list[str]]] = {}
        for item in listed:
            _, bodies = found.setdefault(item["key"], (ResourceRef.model_validate(item["resource"]), []))
            if item["body"] is not None:
                bodies.append(item["body"])
        return found

    async def signal(self, signal_id: str) -> SignalRecord | None:
        """With its newest fate; the incident only where the fate led to one."""
        async with self._database.begin() as connection:
            found = await row(connection, _NEWEST, id=clean(signal_id))
            if found is None:
                return None
            incident = None
            if found["fate"] in (SignalFate.STARTED, SignalFate.MERGED):
                incident = await row(
                    connection,
                    _INCIDENT,
                    signal=signal_id,
                    key=found["incident_key"],
                    at=found["recorded_at"],
                )
        return SignalRecord(
            signal=Signal.model_validate(found["body"]),
            fate=Fate(SignalFate(found["fate"]), FateReason(found["reason"])),
            incident_key=found["incident_key"],
            incident_id=incident["id"] if incident else None,
            recorded_at=found["recorded_at"],
        )

    async def signal_ids(self, prefix: str, most: int) -> list[str]:
        literal = clean(prefix).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        async with self._database.begin() as connection:
            found = await rows(connection, _IDS, pattern=f"{literal}%", most=most)
        return [item["signal_id"] for item in found]

    async def signals_of(self, incident_id: str) -> list[Signal]:
        """Those it was opened with and those merged while it was open; earliest first, at most 1,000."""
        async with self._database.begin() as connection:
            found = await rows(connection, _OF_INCIDENT, id=incident_id, most=MOST_SIGNALS)
        return [Signal.model_validate(item["body"]) for item in found]
