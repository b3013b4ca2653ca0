"""Up to which row the trail is complete: numbers are given out before they are committed."""

from __future__ import annotations

import asyncio

from cortexops.adapters.postgres.database import Database, row, rows

PATIENCE = 5.0
"""Seconds to wait for writers that have a number and have not committed."""
_PAUSE = 0.02
# The last number given out, whether its row is committed or not.
_NEWEST = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS last FROM audit_events_cursor_seq"
# Every writer takes this lock (`audit_lock_heads`) before its rows get their numbers and keeps it to the end.
_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'advisory' AND classid = 0 AND objid = 7021967 AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# Rows without a gap after the cursor: whoever is under way has a number that is missing here.
_UNBROKEN = """
SELECT coalesce(max(cursor), :after) AS last FROM (
    SELECT cursor, cursor - row_number() OVER (ORDER BY cursor) AS island
    FROM audit_events WHERE cursor > :after AND cursor <= :last ORDER BY cursor
) AS numbered WHERE island = :after
"""


async def settled(database: Database, *, after: int = 0, patience: float = PATIENCE) -> tuple[int, bool]:
    """The last row before which no row can appear any more, and whether it was the newest one.

    Writers that were under way at the beginning are waited for, without holding new ones up. When one takes
    longer than `patience` (seconds), the answer is the last row before the first gap after `after`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    async with database.begin() as connection:
        newest = await row(connection, _NEWEST)
    last = int(newest["last"]) if newest else 0
    waited = await _writers(database)  # after the look: who is done by now had committed what it wrote before
    while waited:
        if loop.time() >= end:
            async with database.begin() as connection:
                unbroken = await row(connection, _UNBROKEN, after=after, last=last)
            return (int(unbroken["last"]) if unbroken else after), False
        await asyncio.sleep(_PAUSE)
        waited &= await _writers(database)
    return last, True


async def _writers(database: Database) -> set[str]:
    async with database.begin() as connection:
        return {item["virtualtransaction"] for item in await rows(connection, _WRITERS)}
