"""Messages on their way to people."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.domain.message import Message
from cortexops.ports.store import PendingMessage

_TAKE = """
WITH first AS (
    SELECT DISTINCT ON (notifier, incident_id) id FROM outbox
    WHERE state = 'waiting' AND notifier = ANY(:notifiers)
    ORDER BY notifier, incident_id, id
), taken AS (
    SELECT id FROM outbox
    WHERE id IN (SELECT id FROM first) AND state = 'waiting' AND not_before <= now()
    ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET not_before = now() + make_interval(secs => :lease), attempts = attempts + 1
FROM taken WHERE outbox.id = taken.id
RETURNING outbox.id, notifier, incident_id, body, attempts,
    COALESCE((SELECT o.reference FROM outbox o
              WHERE o.notifier = outbox.notifier AND o.incident_id = outbox.incident_id
                AND o.state = 'delivered' AND o.reference <> ''
              ORDER BY o.id DESC LIMIT 1), '') AS thread
"""


async def queue(connection: AsyncConnection, notifiers: Sequence[str], messages: Sequence[Message]) -> None:
    """Add each message for each channel, once."""
    for message in messages:
        for notifier in notifiers:
            await run(
                connection,
                "INSERT INTO outbox (notifier, key, incident_id, body) "
                "VALUES (:notifier, :key, :incident, CAST(:body AS jsonb)) ON CONFLICT DO NOTHING",
                notifier=notifier,
                key=message.key,
                incident=message.incident_id,
                body=message.model_dump_json(),
            )


class MessageOutbox:
    """The part of the store that holds messages until they are delivered."""

    _database: Database

    async def take(
        self, notifiers: Sequence[str], *, most: int = 20, lease_seconds: float = 30
    ) -> list[PendingMessage]:
        async with self._database.begin() as connection:
            found = await rows(connection, _TAKE, notifiers=list(notifiers), most=most, lease=lease_seconds)
        return [
            PendingMessage(
                id=item["id"],
                notifier=item["notifier"],
                message=Message.model_validate(item["body"]),
                thread=item["thread"],
                attempts=item["attempts"],
            )
            for item in sorted(found, key=lambda item: int(item["id"]))
        ]

    async def delivered(self, id: int, reference: str) -> None:
        async with self._database.begin() as connection:
            await run(
                connection,
                "UPDATE outbox SET state = 'delivered', reference = :reference, detail = '' WHERE id = :id",
                id=id,
                reference=reference,
            )

    async def retry(self, id: int, *, delay_seconds: float, detail: str) -> None:
        async with self._database.begin() as connection:
            await run(
                connection,
                "UPDATE outbox SET not_before = now() + make_interval(secs => :delay), detail = :detail "
                "WHERE id = :id AND state = 'waiting'",
                id=id,
                delay=delay_seconds,
                detail=detail[:500],
            )

    async def refused(self, id: int, detail: str) -> None:
        async with self._database.begin() as connection:
            await run(
                connection,
                "UPDATE outbox SET state = 'refused', detail = :detail WHERE id = :id",
                id=id,
                detail=detail[:500],
            )

    async def waiting(self) -> int:
        async with self._database.begin() as connection:
            found = await row(connection, "SELECT count(*) AS n FROM outbox WHERE state = 'waiting'")
        return int(found["n"]) if found else 0
