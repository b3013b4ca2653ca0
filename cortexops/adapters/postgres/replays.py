"""Requests that were taken: one row each, until they could not be replayed any more."""

from __future__ import annotations

from cortexops.adapters.postgres.database import Database, run
from cortexops.domain.ids import digest

_ADD = """
INSERT INTO seen_requests (mark, until)
VALUES (:mark, clock_timestamp() + make_interval(secs => :keep)) ON CONFLICT (mark) DO NOTHING
"""
# A few at a time, and none that another process is forgetting just now: nobody waits for it.
_FORGET = """
DELETE FROM seen_requests WHERE mark IN (
    SELECT mark FROM seen_requests WHERE until <= clock_timestamp() ORDER BY until LIMIT 100 FOR UPDATE SKIP LOCKED
)
"""


class Replays:
    """The part of the store that knows which requests were taken. Time is the database's, so that consoles agree."""

    _database: Database

    async def first_time(self, mark: str, *, keep_seconds: float) -> bool:
        """See `ReplayStore`. Only a hash of the mark is kept: what is stolen here opens nothing."""
        async with self._database.begin() as connection:
            added = await run(connection, _ADD, mark=digest(["seen", mark]), keep=keep_seconds)
            await run(connection, _FORGET)
        return added == 1
