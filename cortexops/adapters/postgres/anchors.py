"""Writing and reading the daily anchors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from cortexops.adapters.postgres.audit_cursor import settled
from cortexops.adapters.postgres.database import Database, row, rows, run
from cortexops.domain.anchor import Anchor, AnchorBody, Head, anchor_of, check_anchor, check_heads, days_due
from cortexops.domain.audit import ChainFault
from cortexops.domain.errors import TemporaryError

_PATIENCE = 30.0  # seconds; an anchor can wait for a slow writer
_COLUMNS = "day, number, cursor, body, previous_hash, hash"
_LAST = f"SELECT {_COLUMNS} FROM anchors ORDER BY number DESC LIMIT 1"
# The last row of the day. Rows of the next day that were recorded before it are covered as well.
_CUT = """
SELECT coalesce(max(cursor), :after) AS cursor FROM audit_events
WHERE cursor > :after AND cursor <= :last AND at < :end
"""
_HEADS = """
SELECT DISTINCT ON (chain) chain, number, hash, cursor FROM audit_events
WHERE cursor > :after AND cursor <= :last ORDER BY chain, number DESC
"""
_ROWS = "SELECT count(*) AS n FROM audit_events WHERE cursor > :after AND cursor <= :last"
_INSERT = f"""
INSERT INTO anchors ({_COLUMNS}) VALUES (:day, :number, :cursor, :body, :previous_hash, :hash)
"""
_LOCK = "SELECT pg_advisory_xact_lock(7021969)"


def _anchor(found: Mapping[str, Any]) -> Anchor:
    return Anchor(**found)


class AnchorBook:
    """The part of the store that keeps the anchors."""

    _database: Database

    async def anchor(self, now: datetime) -> list[Anchor]:
        """Write the anchors of all UTC days that have ended without one; those are returned.

        Called twice, or by two at once, it writes each once. Raises `TemporaryError` when a writer that was
        under way at the beginning does not come to an end.
        """
        last, complete = await settled(self._database, patience=_PATIENCE)
        if not complete:
            raise TemporaryError("an audit row is being written for long: the anchor has to wait for it")
        written: list[Anchor] = []
        async with self._database.begin() as connection:
            await run(connection, _LOCK)
            found = await row(connection, _LAST)
            previous = _anchor(found) if found else None
            for day in days_due(previous.day if previous else None, now.astimezone(UTC)):
                after = previous.cursor if previous else 0
                end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
                cut = await row(connection, _CUT, after=after, last=last, end=end)
                cursor = int(cut["cursor"]) if cut else after
                count = await row(connection, _ROWS, after=after, last=cursor)
                previous = anchor_of(
                    day,
                    list((await _heads(connection, after, cursor)).values()),
                    rows=int(count["n"]) if count else 0,
                    after=after,
                    cursor=cursor,
                    previous=previous,
                )
                await run(connection, _INSERT, **previous._asdict())
                written.append(previous)
        return written

    async def anchored_day(self) -> date | None:
        """The newest day that has an anchor."""
        async with self._database.begin() as connection:
            found = await row(connection, "SELECT max(day) AS day FROM anchors")
        return found["day"] if found else None

    async def anchors(self, *, most: int = 100) -> list[Anchor]:
        """The newest first."""
        async with self._database.begin() as connection:
            found = await rows(
                connection, f"SELECT {_COLUMNS} FROM anchors ORDER BY number DESC LIMIT :most", most=most
            )
        return [_anchor(item) for item in found]


async def _heads(connection: AsyncConnection, after: int, last: int) -> dict[str, Head]:
    found = await rows(connection, _HEADS, after=after, last=last)
    return {item["chain"]: Head(**item) for item in found}


async def find_anchor_faults(
    connection: AsyncConnection,
    archived: Mapping[str, int],
    given: Mapping[tuple[str, int], Head],
    only: str | None,
) -> tuple[list[tuple[Any, str]], list[ChainFault]]:
    """(day, hash) of all anchors in order, and every fault of them and of the rows that they cover.

    `archived`: number of the last archived row of each chain; `given`: rows of archives that are at hand;
    `only`: faults of this chain and of the anchors themselves.
    """
    faults: list[ChainFault] = []
    known: list[tuple[Any, str]] = []
    previous: Anchor | None = None
    numbers = await rows(connection, "SELECT number FROM anchors ORDER BY number")
    for number in [item["number"] for item in numbers]:  # one at a time: each names all chains of its day
        found = await row(connection, f"SELECT {_COLUMNS} FROM anchors WHERE number = :number", number=number)
        assert found is not None
        anchor = _anchor(found)
        body, complaints = check_anchor(anchor, previous)
        faults += complaints
        if body is not None:
            faults += await _rows_against(connection, body, archived, given, only)
        known.append((anchor.day, anchor.hash))
        previous = anchor
    return known, faults


async def _rows_against(
    connection: AsyncConnection,
    body: AnchorBody,
    archived: Mapping[str, int],
    given: Mapping[tuple[str, int], Head],
    only: str | None,
) -> list[ChainFault]:
    present = await _heads(connection, body.after, body.cursor)
    for head in body.heads:
        at_hand = given.get((head.chain, head.number))
        if head.chain not in present and at_hand is not None:
            present[head.chain] = at_hand
    found = check_heads(body, present, archived)
    return [fault for fault in found if only is None or fault.chain == only]
