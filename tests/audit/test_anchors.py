"""Anchors: one a day, following each other, and what they show that the chains alone do not."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.errors import IntegrityError, InvalidInput
from tests.audit.support import LATER, NEXT_DAY, a_past, erase, faults_of
from tests.support.engines import Database
from tests.support.postgres import an_entry, as_owner


async def test_each_day_has_one_anchor_however_often_it_is_asked_for(store: PostgresStore) -> None:
    await a_past(store)
    assert await store.anchor(NEXT_DAY) == []
    written = await asyncio.gather(*(store.anchor(LATER + timedelta(days=2)) for _ in range(4)))
    assert [anchor.day for anchors in written for anchor in anchors] == [
        date(2026, 1, 3),
        date(2026, 1, 4),
        date(2026, 1, 5),
    ]
    assert [anchor.number for anchor in await store.anchors()] == [4, 3, 2, 1]
    assert await faults_of(store) == set()


async def test_what_is_recorded_after_an_anchor_is_in_the_next(store: PostgresStore) -> None:
    chains = await a_past(store)
    late = an_entry(chains[0], detail="recorded after the anchor of its day")
    await store.append([late, an_entry("new", at=NEXT_DAY)])
    (second,) = await store.anchor(LATER)
    assert '"rows":2' in second.body
    assert chains[0] in second.body and '"new"' in second.body and chains[1] not in second.body
    assert await faults_of(store) == set()


async def test_the_next_day_waits_for_its_own_anchor(store: PostgresStore) -> None:
    await store.append([an_entry("a"), an_entry("b", at=NEXT_DAY)])
    (first,) = await store.anchor(NEXT_DAY)
    assert first.cursor == 1


async def test_a_chain_that_was_erased_with_its_head_and_incident_is_missed(
    store: PostgresStore, migrated_database: Database
) -> None:
    chains = await a_past(store)
    await erase(migrated_database, chains[1])
    assert await faults_of(store) == {
        (chains[1], 3, "all rows that the anchor of 2026-01-02 covers are missing")
    }
    assert await faults_of(store, chain=chains[0]) == set()
    assert len(await faults_of(store, chain=chains[1])) == 1


async def test_an_incident_without_a_chain_is_missed_before_any_anchor(
    store: PostgresStore, migrated_database: Database
) -> None:
    chains = await a_past(store)
    await as_owner(migrated_database, "ALTER TABLE anchors DISABLE TRIGGER USER")
    await as_owner(migrated_database, "DELETE FROM anchors")
    for table in ("audit_events", "audit_heads"):
        await as_owner(migrated_database, f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await as_owner(migrated_database, f"DELETE FROM {table} WHERE chain = '{chains[2]}'")
    assert await faults_of(store) == {(chains[2], 1, "all rows are missing")}


async def test_an_anchor_kept_outside_shows_a_trail_that_was_made_anew(
    store: PostgresStore, migrated_database: Database
) -> None:
    """Whoever owns the database can delete a chain and make matching anchors, but not this one."""
    chains = await a_past(store)
    (kept,) = await store.anchors()
    outside = f"{kept.day}:{kept.hash}"
    assert await faults_of(store, anchor=outside) == set()
    assert await faults_of(store, anchor=kept.hash) == set()
    await erase(migrated_database, chains[1])
    await as_owner(migrated_database, "ALTER TABLE anchors DISABLE TRIGGER USER")
    await as_owner(migrated_database, "DELETE FROM anchors")
    await as_owner(migrated_database, "ALTER TABLE anchors ENABLE TRIGGER USER")
    await store.anchor(NEXT_DAY)
    assert await faults_of(store) == set()
    assert await faults_of(store, anchor=outside) == {
        ("anchors", 1, "anchor of 2026-01-02: is not the one kept outside")
    }
    assert await faults_of(store, anchor=kept.hash) == {
        ("anchors", 1, f"the anchor {kept.hash[:12]}… that was kept outside is missing")
    }
    assert await faults_of(store, anchor=f"2026-01-01:{kept.hash}") == {
        ("anchors", 1, "the anchor of 2026-01-01 that was kept outside is missing")
    }


@pytest.mark.parametrize("text", ["", "abc", "2026-13-01:" + "0" * 64, "Z" * 64])
async def test_what_is_no_anchor_is_refused(store: PostgresStore, text: str) -> None:
    if text:
        with pytest.raises(InvalidInput, match="give HASH"):
            await store.examine(anchor=text)
    else:
        assert await faults_of(store, anchor=text) == set()


TABLES = ("anchors", "archives", "archive_checkpoints")
CHANGES = {
    "day": ("'2026-01-01'", "column day differs from the sealed content"),
    "number": ("9", "the anchor before it is missing"),
    "cursor": ("3", "column cursor differs from the sealed content"),
    "body": ("replace(body, 'rows', 'row')", "content was changed"),
    "previous_hash": ("repeat('1', 64)", "does not follow the anchor before it"),
    "hash": ("repeat('1', 64)", "content was changed"),
}


@pytest.mark.parametrize("column", CHANGES)
async def test_a_changed_column_of_an_anchor_is_found(
    store: PostgresStore, migrated_database: Database, column: str
) -> None:
    value, expected = CHANGES[column]
    await a_past(store)
    await as_owner(migrated_database, "ALTER TABLE anchors DISABLE TRIGGER USER")
    await as_owner(migrated_database, f"UPDATE anchors SET {column} = {value}")
    assert expected in " ".join(fault for _, _, fault in await faults_of(store))
    found = await as_owner(
        migrated_database,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'anchors'",
    )
    assert {name for (name,) in found} == set(CHANGES)


async def test_a_removed_anchor_is_missed(store: PostgresStore, migrated_database: Database) -> None:
    await a_past(store)
    await store.anchor(LATER)
    await as_owner(migrated_database, "ALTER TABLE anchors DISABLE TRIGGER USER")
    await as_owner(migrated_database, "DELETE FROM anchors WHERE number = 1")
    assert ("anchors", 2, "anchor of 2026-01-03: the anchor before it is missing") in await faults_of(store)


@pytest.mark.parametrize("role", ["", "SET ROLE cortexops_app"])
async def test_the_database_refuses_every_change_of_anchors(
    store: PostgresStore, migrated_database: Database, role: str
) -> None:
    await a_past(store)
    async with await psycopg.AsyncConnection.connect(
        migrated_database.plain_dsn, autocommit=True
    ) as connection:
        if role:
            await connection.execute(role.encode())
        for statement in (
            "UPDATE anchors SET hash = ''",
            "UPDATE archive_checkpoints SET hash = ''",
            *(f"DELETE FROM {table}" for table in TABLES),
            *(f"TRUNCATE {table} CASCADE" for table in TABLES),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement.encode())


async def test_an_anchor_that_does_not_follow_is_refused(
    store: PostgresStore, migrated_database: Database
) -> None:
    await a_past(store)
    with pytest.raises(IntegrityError, match="does not follow"):
        async with store._database.begin() as connection:
            await connection.exec_driver_sql(
                "INSERT INTO anchors SELECT day + 1, number + 1, cursor, body, hash, previous_hash FROM anchors"
            )


async def test_a_day_that_has_not_ended_cannot_be_anchored(store: PostgresStore) -> None:
    with pytest.raises(IntegrityError, match="has not ended"):
        await store.anchor(datetime.now(UTC) + timedelta(days=2))
    assert await store.anchors() == []
