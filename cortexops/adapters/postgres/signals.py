"""Signals and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.domain.correlation import Fate
from cortexops.domain.signal import FateReason, Signal, SignalFate
from cortexops.ports.store import SignalRecord

MOST_SIGNALS = 1000
"""Of one incident, in `signals_of`: a storm has more than anybody reads."""

# Inserts are ordered by id, so that two batches with the same signals wait for each other in one direction.
_KEEP = """
INSERT INTO signals (id, body)
SELECT DISTINCT ON (id) id, CAST(body AS jsonb)
FROM unnest(CAST(:ids AS text[]), CAST(:bodies AS text[])) AS new (id, body)
ORDER BY id ON CONFLICT DO NOTHING
"""
# A further fate counts only when the one before it led nowhere or its incident has ended since: the same
# call made twice, or a redelivery, is none.
_FATES = """
WITH new AS (
    SELECT DISTINCT ON (id) id, fate, reason, key
    FROM unnest(CAST(:ids AS text[]), CAST(:fates AS text[]), CAST(:reasons AS text[]), CAST(:keys AS text[]))
        WITH ORDINALITY AS given (id, fate, reason, key, place)
    ORDER BY id, place
), last AS (
    SELECT DISTINCT ON (signal_id) signal_id, number, fate, recorded_at FROM signal_fates
    WHERE signal_id = ANY(:ids) ORDER BY signal_id, number DESC
)
INSERT INTO signal_fates (signal_id, number, fate, reason, incident_key, recorded_at)
SELECT new.id, coalesce(last.number, 0) + 1, new.fate, new.reason, new.key, clock_timestamp()
FROM new LEFT JOIN last ON last.signal_id = new.id
WHERE last.signal_id IS NULL
   OR (new.fate IN ('started', 'merged') AND new.reason <> 'duplicate'
       AND (last.fate NOT IN ('started', 'merged')
            OR EXISTS (SELECT FROM incidents i WHERE i.key = new.key AND i.ended_at >= last.recorded_at)))
ORDER BY new.id ON CONFLICT DO NOTHING
"""
_KNOWN = """
SELECT signal_id, max(recorded_at) AS at FROM signal_fates WHERE signal_id = ANY(:ids) GROUP BY signal_id
"""
_NEWEST = """
SELECT s.body, f.fate, f.reason, f.incident_key, f.recorded_at
FROM signal_fates f JOIN signals s ON s.id = f.signal_id
WHERE f.signal_id = :id ORDER BY f.number DESC LIMIT 1
"""
# The incident that was opened with it; else the first of the key that had not ended when it was recorded.
_INCIDENT = """
SELECT i.id FROM incidents i
LEFT JOIN incident_signals o ON o.incident_id = i.id AND o.signal_id = :signal
WHERE i.key = :key AND (i.ended_at IS NULL OR i.ended_at >= :at)
ORDER BY o.signal_id IS NULL, i.ordinal LIMIT 1
"""
_OF_INCIDENT = """
SELECT s.body FROM signals s WHERE s.id IN (
    SELECT signal_id FROM incident_signals WHERE incident_id = :id
    UNION
    SELECT f.signal_id FROM incidents i JOIN signal_fates f ON f.incident_key = i.key
    WHERE i.id = :id AND f.fate IN ('started', 'merged') AND f.recorded_at >= i.detected_at
      AND (i.ended_at IS NULL OR f.recorded_at <= i.ended_at)
)
ORDER BY CAST(s.body ->> 'started_at' AS timestamptz), s.id LIMIT :most
"""


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

    async def record_fates(self, records: Sequence[tuple[Signal, Fate, str]]) -> None:
        if not records:
            return
        async with self._database.begin() as connection:
            await keep(connection, [signal for signal, _, _ in records])
            await run(
                connection,
                _FATES,
                ids=[signal.id for signal, _, _ in records],
                fates=[fate.fate.value for _, fate, _ in records],
                reasons=[fate.reason.value for _, fate, _ in records],
                keys=[clean(key) for _, _, key in records],
            )

    async def known_signals(self, ids: Sequence[str]) -> dict[str, datetime]:
        async with self._database.begin() as connection:
            found = await rows(connection, _KNOWN, ids=list(ids))
        return {item["signal_id"]: item["at"] for item in found}

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

    async def signals_of(self, incident_id: str) -> list[Signal]:
        """Those it was opened with and those merged while it was open; earliest first, at most 1,000."""
        async with self._database.begin() as connection:
            found = await rows(connection, _OF_INCIDENT, id=incident_id, most=MOST_SIGNALS)
        return [Signal.model_validate(item["body"]) for item in found]
