"""Messages on their way to people."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.adapters.postgres.documents import clean, document
from cortexops.domain.message import Message
from cortexops.ports.store import PendingMessage

_LONGEST_DETAIL = 500
_QUEUE = """
INSERT INTO outbox (notifier, key, incident_id, body)
SELECT notifier, key, incident, CAST(body AS jsonb)
FROM unnest(CAST(:keys AS text[]), CAST(:incidents AS text[]), CAST(:bodies AS text[]))
        WITH ORDINALITY AS new (key, incident, body, place)
    CROSS JOIN unnest(CAST(:notifiers AS text[])) AS notifier
ORDER BY place, notifier ON CONFLICT DO NOTHING
"""
# Only the oldest waiting message of an incident and notifier may go: while it is leased, or waits for its
# next try, those behind it wait too.
_TAKE = """
WITH first AS (
    SELECT DISTINCT ON (notifier, incident_id) id FROM outbox
    WHERE state = 'waiting' AND notifier = ANY(:notifiers)
    ORDER BY notifier, incident_id, id
), taken AS (
    SELECT id FROM outbox
    WHERE id IN (SELECT id FROM first) AND state = 'waiting' AND not_before <= clock_timestamp()
    ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET not_before = clock_timestamp() + make_interval(secs => :lease), attempts = attempts + 1
FROM taken WHERE outbox.id = taken.id
RETURNING outbox.id, notifier, body, attempts,
    COALESCE((SELECT o.reference FROM outbox o
              WHERE o.notifier = outbox.notifier AND o.incident_id = outbox.incident_id
                AND o.state = 'delivered' AND o.reference <> ''
              ORDER BY o.id DESC LIMIT 1), '') AS thread
"""
_DELIVERED = """
UPDATE outbox SET state = 'delivered', reference = :reference, detail = ''
WHERE id = :id AND state = 'waiting'
"""
_RETRY = """
UPDATE outbox SET not_before = clock_timestamp() + make_interval(secs => :delay), detail = :detail
WHERE id = :id AND state = 'waiting'
"""
_REFUSED = "UPDATE outbox SET state = 'refused', detail = :detail WHERE id = :id AND state = 'waiting'"


async def queue(connection: AsyncConnection, notifiers: Sequence[str], messages: Sequence[Message]) -> None:
    """Add each message for each channel, once, within the caller's transaction."""
    if not messages or not notifiers:
        return
    await run(
        connection,
        _QUEUE,
        keys=[clean(message.key) for message in messages],
        incidents=[message.incident_id for message in messages],
        bodies=[document(message) for message in messages],
        notifiers=list(notifiers),
    )


class MessageOutbox:
    """The part of the store that holds messages until they are delivered or refused."""

    _database: Database

    async def take(
        self, notifiers: Sequence[str], *, most: int = 20, lease_seconds: float = 30
    ) -> list[PendingMessage]:
        """`attempts` counts this one: 1 at the first try. `thread` is what the last delivery returned: it
        knows all that was posted so far, such as the message that asked for an approval."""
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
            await run(connection, _DELIVERED, id=id, reference=clean(reference))

    async def retry(self, id: int, *, delay_seconds: float, detail: str) -> None:
        async with self._database.begin() as connection:
            await run(connection, _RETRY, id=id, delay=delay_seconds, detail=clean(detail)[:_LONGEST_DETAIL])

    async def refused(self, id: int, detail: str) -> None:
        async with self._database.begin() as connection:
            await run(connection, _REFUSED, id=id, detail=clean(detail)[:_LONGEST_DETAIL])

    async def waiting(self) -> int:
        async with self._database.begin() as connection:
            found = await row(connection, "SELECT count(*) AS n FROM outbox WHERE state = 'waiting'")
        return int(found["n"]) if found else 0
