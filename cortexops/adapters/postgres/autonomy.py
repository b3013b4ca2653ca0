"""Levels of autonomy that people set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cortexops.adapters.postgres import audit
from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.adapters.postgres.switches import read
from cortexops.domain.audit import AuditEntry
from cortexops.domain.autonomy import Override
from cortexops.domain.errors import NotFound

_SET = """
INSERT INTO autonomy_overrides (id, since, until, body)
VALUES (:id, :since, :until, CAST(:body AS jsonb)) ON CONFLICT (id) DO NOTHING
"""
_CLEAR = """
UPDATE autonomy_overrides SET cleared_at = :at, body = CAST(:body AS jsonb) WHERE id = :id AND cleared_at IS NULL
"""
_LIST = """
SELECT body FROM autonomy_overrides WHERE :ended OR (cleared_at IS NULL AND until > now())
ORDER BY since DESC, id LIMIT :most
"""


class AutonomyBook:
    """The part of the store that keeps overrides."""

    _database: Database

    async def set_override(self, override: Override, entry: AuditEntry) -> None:
        async with self._database.begin() as connection:
            await run(
                connection,
                _SET,
                id=override.id,
                since=override.since,
                until=override.until,
                body=document(override),
            )
            await audit.append(connection, [entry])

    async def clear_override(self, override_id: str, at: datetime, entry: AuditEntry) -> Override:
        async with self._database.begin() as connection:
            found = await row(
                connection,
                "SELECT body FROM autonomy_overrides WHERE id = :id FOR UPDATE",
                id=clean(override_id),
            )
            if found is None:
                raise NotFound(f"override {override_id} was not found")
            override = read(Override, found)
            if override.cleared_at is None:
                override = override.model_copy(update={"cleared_at": at})
                await run(connection, _CLEAR, id=override.id, at=at, body=document(override))
                await audit.append(connection, [entry])
        return override

    async def overrides(self, *, ended: bool = False, most: int = 500) -> Sequence[Override]:
        async with self._database.begin() as connection:
            found = await rows(connection, _LIST, ended=ended, most=most)
        return [read(Override, item) for item in found]
