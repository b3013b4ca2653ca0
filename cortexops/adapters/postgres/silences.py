"""Silences, and what an incident is born with because of them and of its past."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres import audit
from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.domain.audit import AuditEntry
from cortexops.domain.errors import NotFound
from cortexops.domain.flapping import MOST_ENDS, WINDOW
from cortexops.domain.incident import IncidentState
from cortexops.domain.silence import Silence
from cortexops.telemetry import get_logger

_log = get_logger(__name__)

_ADD = """
INSERT INTO silences (id, starts_at, ends_at, body)
VALUES (:id, :starts_at, :ends_at, CAST(:body AS jsonb)) ON CONFLICT (id) DO NOTHING
"""
_LIFT = """
UPDATE silences SET lifted_at = :at, body = CAST(:body AS jsonb) WHERE id = :id AND lifted_at IS NULL
"""
_IN_FORCE = """
SELECT id, body FROM silences WHERE lifted_at IS NULL AND starts_at <= :now AND ends_at > :now ORDER BY ends_at
"""
_LIST = """
SELECT body FROM silences WHERE :ended OR (lifted_at IS NULL AND ends_at > now())
ORDER BY starts_at DESC LIMIT :most
"""
_RESOLVED_LATELY = """
SELECT count(*) AS number FROM (
    SELECT 1 FROM incidents WHERE key = :key AND state = :resolved AND NOT drill
      AND ended_at > :since LIMIT :enough
) AS ends
"""


async def in_force(connection: AsyncConnection, now: datetime) -> list[Silence]:
    """Silences that may hold something now, within the caller's transaction."""
    found = []
    for item in await rows(connection, _IN_FORCE, now=now):
        try:
            found.append(Silence.model_validate(item["body"]))
        except ValidationError as error:  # closed: what cannot be read holds nothing
            _log.error("a silence cannot be read and holds nothing", silence=item["id"], error=error.title)
    return found


async def flaps(connection: AsyncConnection, key: str, now: datetime) -> bool:
    """Whether incidents of this key were resolved too often lately."""
    found = await row(
        connection,
        _RESOLVED_LATELY,
        key=clean(key),
        resolved=IncidentState.RESOLVED.value,
        since=now - WINDOW,
        enough=MOST_ENDS,
    )
    return found is not None and int(found["number"]) >= MOST_ENDS


class SilenceBook:
    """The part of the store that keeps silences."""

    _database: Database

    async def add_silence(self, silence: Silence, entry: AuditEntry) -> None:
        async with self._database.begin() as connection:
            await run(
                connection,
                _ADD,
                id=silence.id,
                starts_at=silence.starts_at,
                ends_at=silence.ends_at,
                body=document(silence),
            )
            await audit.append(connection, [entry])

    async def lift_silence(self, silence_id: str, at: datetime, entry: AuditEntry) -> Silence:
        """Raises `NotFound` for one that does not exist. Lifting twice changes nothing."""
        async with self._database.begin() as connection:
            found = await row(
                connection, "SELECT body FROM silences WHERE id = :id FOR UPDATE", id=clean(silence_id)
            )
            if found is None:
                raise NotFound(f"silence {silence_id} was not found")
            silence = Silence.model_validate(found["body"])
            if silence.lifted_at is None:
                silence = silence.model_copy(update={"lifted_at": at})
                await run(connection, _LIFT, id=silence.id, at=at, body=document(silence))
                await audit.append(connection, [entry])
        return silence

    async def silences(self, *, ended: bool = False, most: int = 200) -> Sequence[Silence]:
        async with self._database.begin() as connection:
            found = await rows(connection, _LIST, ended=ended, most=most)
        return [Silence.model_validate(item["body"]) for item in found]

    async def silences_in_force(self, now: datetime) -> Sequence[Silence]:
        async with self._database.begin() as connection:
            return await in_force(connection, now)
