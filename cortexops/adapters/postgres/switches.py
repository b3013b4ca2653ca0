"""The kill switch, and the slots of remediations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres import audit
from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.domain.audit import AuditEntry
from cortexops.domain.errors import IntegrityError, NotFound
from cortexops.domain.limits import Admission, Entry, Phase, RemediationLimits, Slot, admission
from cortexops.domain.switch import Stop

T = TypeVar("T", bound=BaseModel)
_LOCK = 7_021_968  # any number; the same in every process
_ADD = """
INSERT INTO stops (id, since, until, body)
VALUES (:id, :since, :until, CAST(:body AS jsonb)) ON CONFLICT (id) DO NOTHING
"""
_RESUME = """
UPDATE stops SET resumed_at = :at, body = CAST(:body AS jsonb) WHERE id = :id AND resumed_at IS NULL
"""
_IN_FORCE = """
SELECT body FROM stops WHERE resumed_at IS NULL AND (until IS NULL OR until > least(:now, now()))
ORDER BY since, id
"""
_LIST = """
SELECT body FROM stops WHERE :ended OR (resumed_at IS NULL AND (until IS NULL OR until > now()))
ORDER BY since DESC, id LIMIT :most
"""
_SLOTS = """
SELECT s.body FROM remediation_slots s JOIN incidents i ON i.id = s.incident_id
WHERE i.ended_at IS NULL ORDER BY s.incident_id
"""
_FORGET = """
DELETE FROM remediation_slots s USING incidents i WHERE i.id = s.incident_id AND i.ended_at IS NOT NULL
"""
# Not now(), which is when the transaction began: it may have waited for its turn since.
_CLOCK = "SELECT clock_timestamp() AS now"
_KEEP = """
INSERT INTO remediation_slots (incident_id, expires_at, body)
VALUES (:incident, :expires_at, CAST(:body AS jsonb))
ON CONFLICT (incident_id) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body
"""


def read(model: type[T], found: Mapping[str, Any]) -> T:
    """A kept document. Raises `IntegrityError` when it is none: closed, as if everything were stopped."""
    try:
        return model.model_validate(found["body"])
    except ValidationError as error:
        raise IntegrityError(f"a {error.title} in the database cannot be read") from None


class Switches:
    """The part of the store that keeps stops. One that cannot be read raises: then nothing is done."""

    _database: Database

    async def add_stop(self, stop: Stop, entry: AuditEntry) -> None:
        async with self._database.begin() as connection:
            await run(connection, _ADD, id=stop.id, since=stop.since, until=stop.until, body=document(stop))
            await audit.append(connection, [entry])

    async def resume_stop(self, stop_id: str, by: str, at: datetime, entry: AuditEntry) -> Stop:
        async with self._database.begin() as connection:
            found = await row(
                connection, "SELECT body FROM stops WHERE id = :id FOR UPDATE", id=clean(stop_id)
            )
            if found is None:
                raise NotFound(f"stop {stop_id} was not found")
            stop = read(Stop, found)
            if stop.resumed_at is None:
                stop = stop.model_copy(update={"resumed_at": at, "resumed_by": by})
                await run(connection, _RESUME, id=stop.id, at=at, body=document(stop))
                await audit.append(connection, [entry])
        return stop

    async def stops(self, *, ended: bool = False, most: int = 200) -> Sequence[Stop]:
        async with self._database.begin() as connection:
            found = await rows(connection, _LIST, ended=ended, most=most)
        return [read(Stop, item) for item in found]

    async def stops_in_force(self, now: datetime) -> Sequence[Stop]:
        async with self._database.begin() as connection:
            found = await rows(connection, _IN_FORCE, now=now)
        return [read(Stop, item) for item in found]


class Slots:
    """The part of the store that says who may remediate now."""

    _database: Database

    async def admit(
        self, incident_id: str, target: str, wants: Phase, limits: RemediationLimits
    ) -> Admission:
        async with self._database.begin() as connection:
            await run(connection, "SELECT pg_advisory_xact_lock(:lock)", lock=_LOCK)
            await run(connection, _FORGET)
            clock = await row(connection, _CLOCK)
            assert clock is not None
            found = admission(await _open(connection), incident_id, target, wants, limits, clock["now"])
            if found.entry is not Entry.REFUSED and found.slot is not None:
                await run(
                    connection,
                    _KEEP,
                    incident=incident_id,
                    expires_at=found.slot.expires_at,
                    body=document(found.slot),
                )
        return found

    async def slots(self) -> Sequence[Slot]:
        async with self._database.begin() as connection:
            return await _open(connection)


async def _open(connection: AsyncConnection) -> list[Slot]:
    return [read(Slot, item) for item in await rows(connection, _SLOTS)]
