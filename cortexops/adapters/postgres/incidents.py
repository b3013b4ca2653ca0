"""Incidents, their diagnoses, and what became of their signals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres import audit, outbox
from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.domain.audit import AuditEntry
from cortexops.domain.correlation import EndedIncident, Fate
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.message import Message, MessageKind
from cortexops.domain.narrative import message
from cortexops.domain.signal import FateReason, Severity, Signal, SignalFate
from cortexops.ports.store import SignalRecord

_SAVE = """
INSERT INTO incidents (id, key, run_id, state, severity, drill, detected_at, updated_at, ended_at, body)
VALUES (:id, :key, :run_id, :state, :severity, :drill, :detected_at, :updated_at, :ended_at, CAST(:body AS jsonb))
ON CONFLICT (id) DO UPDATE SET state = excluded.state, severity = excluded.severity,
    updated_at = excluded.updated_at, ended_at = excluded.ended_at, body = excluded.body
WHERE incidents.updated_at <= excluded.updated_at AND incidents.ended_at IS NULL
"""
_COUNT = """
INSERT INTO incident_counters VALUES (:day, 1)
ON CONFLICT (day) DO UPDATE SET last = incident_counters.last + 1 RETURNING last
"""
_FATES = """
INSERT INTO signals (id, fate, reason, incident_key, body)
SELECT id, fate, reason, key, CAST(body AS jsonb)
FROM unnest(CAST(:ids AS text[]), CAST(:fates AS text[]), CAST(:reasons AS text[]),
            CAST(:keys AS text[]), CAST(:bodies AS text[])) AS new (id, fate, reason, key, body)
WHERE fate IN ('started', 'merged') AND reason <> 'duplicate'
   OR NOT EXISTS (SELECT FROM signals s WHERE s.id = new.id)
"""
# A signal belongs to the incident of its key that was open when its fate was recorded.
_INCIDENT_OF_SIGNAL = """
SELECT id FROM incidents WHERE key = :key AND detected_at <= :at + interval '1 minute'
  AND (ended_at IS NULL OR ended_at >= :at - interval '1 minute')
ORDER BY detected_at DESC LIMIT 1
"""


async def save(connection: AsyncConnection, incident: Incident) -> None:
    """Insert or update; an ended incident stays as it ended, an older state never replaces a newer one."""
    await run(
        connection,
        _SAVE,
        **incident.model_dump(
            include={"id", "key", "run_id", "drill", "detected_at", "updated_at", "ended_at"},
        ),
        state=incident.state.value,
        severity=incident.severity.value,
        body=incident.model_dump_json(),
    )


class IncidentBook:
    """The part of the store that keeps incidents."""

    _database: Database
    _notifiers: tuple[str, ...]

    async def open_incident(self, draft: Incident, signals: Sequence[Signal], entry: AuditEntry) -> Incident:
        async with self._database.begin() as connection:
            await run(connection, "SELECT pg_advisory_xact_lock(hashtextextended(:run, 0))", run=draft.run_id)
            known = await row(
                connection,
                "SELECT body FROM incidents WHERE key = :key AND run_id = :run",
                key=draft.key,
                run=draft.run_id,
            )
            if known is not None:
                return Incident.model_validate(known["body"])
            day = draft.detected_at.date()
            counted = await row(connection, _COUNT, day=day)
            assert counted is not None
            incident = draft.model_copy(update={"id": f"INC-{day:%Y%m%d}-{counted['last']:03d}"})
            await save(connection, incident)
            await audit.append(connection, [entry.model_copy(update={"chain": incident.id})])
            first = message(
                incident, MessageKind.DETECTED, entry.detail, key="detected", at=incident.detected_at
            )
            await outbox.queue(connection, self._notifiers, [first])
            return incident

    async def update_incident(
        self, incident: Incident, entries: Sequence[AuditEntry], messages: Sequence[Message] = ()
    ) -> None:
        async with self._database.begin() as connection:
            await save(connection, incident)
            await audit.append(connection, entries)
            await outbox.queue(connection, self._notifiers, messages)

    async def save_diagnosis(self, incident_id: str, diagnosis: Diagnosis) -> None:
        async with self._database.begin() as connection:
            await run(
                connection,
                "INSERT INTO diagnoses VALUES (:id, CAST(:body AS jsonb)) "
                "ON CONFLICT (incident_id) DO UPDATE SET body = excluded.body",
                id=incident_id,
                body=diagnosis.model_dump_json(),
            )

    async def diagnosis(self, incident_id: str) -> Diagnosis | None:
        async with self._database.begin() as connection:
            found = await row(
                connection, "SELECT body FROM diagnoses WHERE incident_id = :id", id=incident_id
            )
        return Diagnosis.model_validate(found["body"]) if found else None

    async def incident(self, incident_id: str) -> Incident | None:
        async with self._database.begin() as connection:
            found = await row(connection, "SELECT body FROM incidents WHERE id = :id", id=incident_id)
        return Incident.model_validate(found["body"]) if found else None

    async def incidents(
        self,
        *,
        open_only: bool = False,
        states: Sequence[IncidentState] = (),
        severity: Severity | None = None,
        most: int = 100,
        before: datetime | None = None,
    ) -> list[Incident]:
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                "SELECT body FROM incidents WHERE (NOT :open_only OR ended_at IS NULL) "
                "AND (:any_state OR state = ANY(:states)) "
                "AND (CAST(:severity AS text) IS NULL OR severity = :severity) "
                "AND (CAST(:before AS timestamptz) IS NULL OR detected_at < :before) "
                "ORDER BY detected_at DESC, id DESC LIMIT :most",
                open_only=open_only,
                any_state=not states,
                states=[state.value for state in states],
                severity=severity.value if severity else None,
                before=before,
                most=most,
            )
        return [Incident.model_validate(item["body"]) for item in found]

    async def last_ended(self, keys: Sequence[str]) -> dict[str, EndedIncident]:
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                "SELECT DISTINCT ON (key) key, id, state, ended_at FROM incidents "
                "WHERE key = ANY(:keys) AND ended_at IS NOT NULL ORDER BY key, ended_at DESC",
                keys=list(keys),
            )
        return {
            item["key"]: EndedIncident(item["id"], IncidentState(item["state"]), item["ended_at"])
            for item in found
        }

    async def open_keys(self, keys: Sequence[str]) -> set[str]:
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                "SELECT DISTINCT key FROM incidents WHERE key = ANY(:keys) AND ended_at IS NULL",
                keys=list(keys),
            )
        return {item["key"] for item in found}

    async def record_fates(self, records: Sequence[tuple[Signal, Fate, str]]) -> None:
        if not records:
            return
        async with self._database.begin() as connection:
            await run(
                connection,
                _FATES,
                ids=[signal.id for signal, _, _ in records],
                fates=[fate.fate.value for _, fate, _ in records],
                reasons=[fate.reason.value for _, fate, _ in records],
                keys=[key for _, _, key in records],
                bodies=[signal.model_dump_json(by_alias=True) for signal, _, _ in records],
            )

    async def known_signals(self, ids: Sequence[str]) -> dict[str, datetime]:
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                "SELECT id, max(recorded_at) AS at FROM signals WHERE id = ANY(:ids) GROUP BY id",
                ids=list(ids),
            )
        return {item["id"]: item["at"] for item in found}

    async def signal(self, signal_id: str) -> SignalRecord | None:
        async with self._database.begin() as connection:
            found = await row(
                connection,
                "SELECT * FROM signals WHERE id = :id ORDER BY recorded_at DESC, number DESC LIMIT 1",
                id=signal_id,
            )
            if found is None:
                return None
            about = await row(
                connection, _INCIDENT_OF_SIGNAL, key=found["incident_key"], at=found["recorded_at"]
            )
        return SignalRecord(
            signal=Signal.model_validate(found["body"]),
            fate=Fate(SignalFate(found["fate"]), FateReason(found["reason"])),
            incident_key=found["incident_key"],
            incident_id=about["id"] if about and found["fate"] in ("started", "merged") else None,
            recorded_at=found["recorded_at"],
        )

    async def signals_of(self, incident_id: str) -> list[Signal]:
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                "SELECT s.body FROM incidents i JOIN signals s ON s.incident_key = i.key "
                "WHERE i.id = :id AND s.fate IN ('started', 'merged') "
                "AND s.recorded_at >= i.detected_at - interval '1 minute' "
                "AND (i.ended_at IS NULL OR s.recorded_at <= i.ended_at + interval '1 minute') "
                "ORDER BY s.number LIMIT 1000",
                id=incident_id,
            )
        return [Signal.model_validate(item["body"]) for item in found]
