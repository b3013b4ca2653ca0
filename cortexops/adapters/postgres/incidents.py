"""Incidents and their diagnoses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres import audit, outbox, silences
from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.adapters.postgres.signals import keep
from cortexops.domain.audit import AuditEntry
from cortexops.domain.correlation import EndedIncident
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import NotFound
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.message import Message, MessageKind
from cortexops.domain.narrative import message
from cortexops.domain.signal import Severity, Signal
from cortexops.domain.silence import held_until, who_holds
from cortexops.domain.sweep import ENDED_BY_OTHERS

_FIND = "SELECT body FROM incidents WHERE key = :key AND run_id = :run_id"
_COUNT = """
INSERT INTO incident_counters (day, last) VALUES (:day, 1)
ON CONFLICT (day) DO UPDATE SET last = incident_counters.last + 1 RETURNING last
"""
_OPEN = """
INSERT INTO incidents (id, key, run_id, state, severity, drill, detected_at, updated_at, ended_at, body)
VALUES (:id, :key, :run_id, :state, :severity, :drill, :detected_at, :updated_at, :ended_at,
        CAST(:body AS jsonb))
ON CONFLICT (key, run_id) DO NOTHING
"""
# A try that comes late must not replace what is newer.
_UPDATE = """
UPDATE incidents SET state = :state, severity = :severity, updated_at = :updated_at, ended_at = :ended_at,
    body = CAST(:body AS jsonb)
WHERE id = :id AND ended_at IS NULL AND updated_at <= :updated_at
"""
_LIST = """
SELECT body FROM incidents WHERE (NOT :open_only OR ended_at IS NULL)
  AND (:any_state OR state = ANY(:states))
  AND (CAST(:severity AS text) IS NULL OR severity = :severity)
  AND (CAST(:before AS timestamptz) IS NULL OR detected_at < :before)
ORDER BY detected_at DESC, ordinal DESC LIMIT :most
"""
_LAST_ENDED = """
SELECT DISTINCT ON (key) key, id, state, ended_at FROM incidents
WHERE key = ANY(:keys) AND ended_at IS NOT NULL ORDER BY key, ended_at DESC, ordinal DESC
"""
_SAVE_DIAGNOSIS = """
INSERT INTO diagnoses (incident_id, body) VALUES (:id, CAST(:body AS jsonb))
ON CONFLICT (incident_id) DO UPDATE SET body = excluded.body
"""


def _columns(incident: Incident) -> dict[str, object]:
    return {
        "id": incident.id,
        "state": incident.state.value,
        "severity": incident.severity.value,
        "updated_at": incident.updated_at,
        "ended_at": incident.ended_at,
        "body": document(incident),
    }


class IncidentBook:
    """The part of the store that keeps incidents."""

    _database: Database
    _notifiers: tuple[str, ...]

    async def open_incident(self, draft: Incident, signals: Sequence[Signal], entry: AuditEntry) -> Incident:
        async with self._database.begin() as connection:
            known = await _of_run(connection, draft)
            if known is not None:
                return known
            incident = await _open(connection, await _born(connection, draft, signals))
            if incident is None:  # another call for the same run was faster
                faster = await _of_run(connection, draft)
                assert faster is not None
                return faster
            await _attach(connection, incident.id, signals)
            first = message(
                incident,
                MessageKind.DETECTED,
                entry.detail,
                key="detected",
                at=incident.detected_at,
                fields={"Object": str(incident.resource), "Risk": f"{incident.risk_score}/100"},
            )
            if incident.held_until is None:  # a silence holds notices back; what holds is in the audit trail
                await outbox.queue(connection, self._notifiers, [first])
            await audit.append(connection, [entry.model_copy(update={"chain": incident.id})])
            return incident

    async def update_incident(
        self, incident: Incident, entries: Sequence[AuditEntry], messages: Sequence[Message] = ()
    ) -> bool:
        """Raises `NotFound` when the incident was never opened."""
        async with self._database.begin() as connection:
            found = await row(
                connection,
                "SELECT ended_at, body ->> 'reason' AS reason FROM incidents WHERE id = :id FOR UPDATE",
                id=incident.id,
            )
            if found is None:
                raise NotFound(f"incident {incident.id} was not found")
            # Nobody may hear or read of a second end. An end of its own may have been lost to the workflow: what it
            # says then is kept, since it may go on, and people have to hear of that.
            if found["ended_at"] is not None and found["reason"] in ENDED_BY_OTHERS:
                return False
            await run(connection, _UPDATE, **_columns(incident))
            await outbox.queue(connection, self._notifiers, messages)
            await audit.append(connection, entries)
        return True

    async def save_diagnosis(self, incident_id: str, diagnosis: Diagnosis) -> None:
        """The newest diagnosis of an incident stays. Raises `NotFound` when there is no such incident."""
        async with self._database.begin() as connection:
            await run(connection, _SAVE_DIAGNOSIS, id=incident_id, body=document(diagnosis))

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
                _LIST,
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
            found = await rows(connection, _LAST_ENDED, keys=[clean(key) for key in keys])
        return {
            item["key"]: EndedIncident(item["id"], IncidentState(item["state"]), item["ended_at"])
            for item in found
        }

    async def open_keys(self, keys: Sequence[str]) -> dict[str, datetime]:
        async with self._database.begin() as connection:
            found = await rows(
                connection,
                "SELECT key, max(detected_at) AS at FROM incidents "
                "WHERE key = ANY(:keys) AND ended_at IS NULL GROUP BY key",
                keys=[clean(key) for key in keys],
            )
        return {item["key"]: item["at"] for item in found}


async def _born(connection: AsyncConnection, draft: Incident, signals: Sequence[Signal]) -> Incident:
    """The draft with what its past and the silences in force make of it."""
    now = draft.detected_at
    names = {signal.name for signal in signals}
    hold = held_until(await silences.in_force(connection, now), draft.resource, names, now)
    return draft.model_copy(
        update={
            "flapping": not draft.drill and await silences.flaps(connection, draft.key, now),
            "held_until": hold[0] if hold else None,
            "held_by": who_holds(hold[1]) if hold else "",
        }
    )


async def _of_run(connection: AsyncConnection, draft: Incident) -> Incident | None:
    found = await row(connection, _FIND, key=clean(draft.key), run_id=draft.run_id)
    return Incident.model_validate(found["body"]) if found else None


async def _open(connection: AsyncConnection, draft: Incident) -> Incident | None:
    """The draft under the next id of its day, stored; None when its run has an incident already."""
    day = draft.detected_at.astimezone(UTC).date()
    counted = await row(connection, _COUNT, day=day)
    assert counted is not None
    incident = draft.model_copy(update={"id": f"INC-{day:%Y%m%d}-{counted['last']:03d}"})
    added = await run(
        connection,
        _OPEN,
        **_columns(incident),
        key=clean(incident.key),
        run_id=incident.run_id,
        drill=incident.drill,
        detected_at=incident.detected_at,
    )
    return incident if added else None


async def _attach(connection: AsyncConnection, incident_id: str, given: Sequence[Signal]) -> None:
    await keep(connection, given)
    await run(
        connection,
        "INSERT INTO incident_signals (incident_id, signal_id) "
        "SELECT DISTINCT :incident, id FROM unnest(CAST(:ids AS text[])) AS id",
        incident=incident_id,
        ids=[signal.id for signal in given],
    )
