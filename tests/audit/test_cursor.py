"""The export's cursor: whoever commits late is waited for, or stopped before; never passed by."""

from __future__ import annotations

import asyncio

import psycopg

from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.audit_cursor import settled
from cortexops.domain.audit import GENESIS
from tests.support.engines import Database
from tests.support.postgres import an_entry

LATE = """
INSERT INTO audit_events (chain, number, idempotency_key, type, at, body, previous_hash, hash)
SELECT 'late', 1, 'k', type, at, body, %s, 'h' FROM audit_events ORDER BY cursor LIMIT 1
"""


async def cursors(store: PostgresStore, after: int = 0, patience: float = 5) -> list[int]:
    return [cursor async for cursor, _ in store.export(after=after, patience=patience)]


async def late_writer(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    await connection.execute("SELECT audit_lock_heads(ARRAY['late'])")
    await connection.execute(LATE, [GENESIS])


async def test_an_export_stops_before_a_writer_that_takes_too_long_and_comes_back_for_it(
    store: PostgresStore, migrated_database: Database
) -> None:
    await store.append([an_entry("a")])
    async with await psycopg.AsyncConnection.connect(migrated_database.plain_dsn) as late:
        await late_writer(late)
        await store.append([an_entry("a"), an_entry("b")])  # 3 and 4 are committed before 2 is
        assert await cursors(store, patience=0.1) == [1]
        assert await cursors(store, after=1, patience=0.1) == []
        await late.commit()
    assert await cursors(store, after=1) == [2, 3, 4]


async def test_writers_are_not_held_up_by_an_export_that_waits(
    store: PostgresStore, migrated_database: Database
) -> None:
    await store.append([an_entry("a")])
    async with await psycopg.AsyncConnection.connect(migrated_database.plain_dsn) as late:
        await late_writer(late)
        waiting = asyncio.create_task(cursors(store))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(2):
            await store.append([an_entry("a")])
        assert not waiting.done()
        await late.commit()
    assert await waiting == [1, 2]
    assert await cursors(store, after=2) == [3]


async def test_a_number_whose_writer_gave_up_stops_nobody(
    store: PostgresStore, migrated_database: Database
) -> None:
    await store.append([an_entry("a")])
    async with await psycopg.AsyncConnection.connect(migrated_database.plain_dsn) as late:
        await late_writer(late)
        await late.rollback()
        await store.append([an_entry("a")])
        assert await cursors(store) == [1, 3]


async def test_followers_of_many_writers_see_every_row_once(
    store: PostgresStore, migrated_database: Database
) -> None:
    writer = await PostgresStore.connect(migrated_database.dsn)
    seen: list[int] = []
    writing = True

    async def follow() -> None:
        while writing or await store.export_lag(seen[-1] if seen else 0):
            seen.extend(await cursors(store, after=seen[-1] if seen else 0))

    async def write(number: int) -> None:
        for _ in range(15):
            await writer.append([an_entry(f"chain-{number}"), an_entry("shared")])

    following = asyncio.create_task(follow())
    try:
        await asyncio.gather(*(write(number) for number in range(4)))
    finally:
        writing = False
        await following
        await writer.close()
    assert len(seen) == 120
    assert seen == sorted(set(seen))


async def test_an_empty_trail_is_settled(store: PostgresStore) -> None:
    assert await settled(store._database) == (0, True)
