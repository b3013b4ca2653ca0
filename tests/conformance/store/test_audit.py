"""The audit trail: chained, insert-only in the database itself, and every tampering found and located."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.audit import GENESIS, AuditType, verify_chain
from cortexops.domain.errors import IntegrityError, PermanentError
from tests.support.engines import Database
from tests.support.postgres import an_entry, as_owner, tamper, together

TABLES = ("audit_events", "audit_heads", "policy_violations")


async def three_chains(store: PostgresStore) -> None:
    """INC-1 with five events, INC-2 with three, INC-3 with one; the first of INC-1 is a violation."""
    violation = an_entry("INC-1", type=AuditType.POLICY_VIOLATION, reason="freeze")
    await store.append([violation, *(an_entry(chain) for chain in ["INC-1", "INC-2"] * 3)])
    await store.append([an_entry("INC-1"), an_entry("INC-3")])


async def faults_of(store: PostgresStore) -> set[tuple[str, int, str]]:
    _, faults = await store.verify()
    assert len(faults) == len(set(faults)), "each fault is told once"
    return {(fault.chain, fault.number, fault.fault) for fault in faults}


async def test_events_come_back_as_they_were_written(store: PostgresStore) -> None:
    entries = [an_entry("a", detail="1"), an_entry("b"), an_entry("a", data={"ü": [1.0, None, "\x00"]})]
    written = await store.append(entries)
    assert [(event.chain, event.number) for event in written] == [("a", 1), ("b", 1), ("a", 2)]
    assert await store.events("a") == [written[0], written[2]]
    assert written[0].previous_hash == GENESIS
    assert verify_chain(await store.events("a")) == []
    assert await store.events("none") == []
    assert await store.append([]) == []
    assert await store.verify() == (3, [])


async def test_the_same_entry_is_recorded_once(store: PostgresStore) -> None:
    entry = an_entry("a")
    first, twin = await store.append([entry, entry])
    (again,) = await store.append([entry])
    assert first == twin == again
    elsewhere = await store.append([entry.model_copy(update={"chain": "b"})])
    assert elsewhere[0].number == 1
    assert len(await store.events("a")) == 1


async def test_many_writers_keep_one_chain_whole(store: PostgresStore, migrated_database: Database) -> None:
    other = await PostgresStore.connect(migrated_database.dsn)
    same = an_entry("one")
    try:
        await together(
            *(writer.append([an_entry("one")]) for writer in (store, other) * 40),
            *(writer.append([same]) for writer in (store, other) * 5),
        )
    finally:
        await other.close()
    events = await store.events("one")
    assert [event.number for event in events] == list(range(1, 82))
    assert await store.verify() == (81, [])


async def test_writers_of_many_chains_in_any_order_do_not_block_each_other(
    store: PostgresStore, migrated_database: Database
) -> None:
    other = await PostgresStore.connect(migrated_database.dsn)
    chains = ["d", "B", "a", "C", "é", "_"]
    try:
        batches = [[an_entry(chain) for chain in (chains if n % 2 else chains[::-1])] for n in range(60)]
        await asyncio.wait_for(
            together(*((store, other)[n % 2].append(batch) for n, batch in enumerate(batches))), 20
        )
    finally:
        await other.close()
    assert await store.verify() == (360, [])


async def test_verifying_while_others_write_finds_no_fault(store: PostgresStore) -> None:
    await three_chains(store)

    async def write() -> None:
        for _ in range(30):
            await store.append([an_entry("INC-1"), an_entry("INC-2")])

    results = await together(write(), write(), *(store.verify() for _ in range(5)))
    assert [faults for _, faults in results[2:]] == [[]] * 5


async def test_a_violation_has_a_row_of_its_own(store: PostgresStore, migrated_database: Database) -> None:
    await three_chains(store)
    found = await as_owner(migrated_database, "SELECT cursor, chain, rule, detail FROM policy_violations")
    assert found == [(1, "INC-1", "freeze", "because")]


async def test_export_goes_on_after_the_cursor_in_order_of_recording(store: PostgresStore) -> None:
    await three_chains(store)
    first = [item async for item in store.export(most=4)]
    rest = [item async for item in store.export(after=first[-1][0])]
    assert len(first) == 4
    assert len(rest) == 5
    cursors = [cursor for cursor, _ in first + rest]
    assert cursors == sorted(set(cursors))
    places = [(event.chain, event.number) for _, event in first + rest]
    assert places[0] == ("INC-1", 1)
    assert set(places) == {
        *(("INC-1", n) for n in range(1, 6)),
        *(("INC-2", n) for n in range(1, 4)),
        ("INC-3", 1),
    }
    assert [item async for item in store.export(after=cursors[-1])] == []


async def test_export_misses_nothing_of_a_writer_that_is_slow_to_commit(
    store: PostgresStore, migrated_database: Database
) -> None:
    """The slow writer has the lower cursor; an export that went past it would never come back for it."""
    (sealed,) = await store.append([an_entry("fast")])
    async with await psycopg.AsyncConnection.connect(migrated_database.plain_dsn) as slow:
        await slow.execute("SELECT audit_lock_heads(ARRAY['slow'])")
        await slow.execute(
            "INSERT INTO audit_events (chain, number, idempotency_key, type, at, body, previous_hash, hash) "
            "SELECT 'slow', 1, 'k', type, at, body, %s, 'h' FROM audit_events",
            [GENESIS],
        )
        exporting = asyncio.create_task(_collect(store))
        appending = asyncio.create_task(store.append([an_entry("fast")]))
        await asyncio.sleep(0.3)
        assert not exporting.done()
        await slow.commit()
    cursors = [cursor for cursor, _ in await exporting]
    await appending
    assert cursors[:2] == [1, 2]
    assert sealed.number == 1


async def _collect(store: PostgresStore) -> list[tuple[int, object]]:
    return [item async for item in store.export()]


@pytest.mark.parametrize("role", ["", "SET ROLE cortexops_app"])
async def test_the_database_refuses_every_change_of_audit_rows(
    store: PostgresStore, migrated_database: Database, role: str
) -> None:
    await three_chains(store)
    statements = [
        f"{verb} {table} {rest}"
        for table in TABLES
        for verb, rest in (("UPDATE", "SET chain = chain"), ("DELETE FROM", ""), ("TRUNCATE", "CASCADE"))
    ]
    statements += [
        "UPDATE audit_heads SET number = number + 1 WHERE chain = 'INC-1'",
        "UPDATE audit_events SET cursor = DEFAULT",
        "SET session_replication_role = replica; DELETE FROM audit_events",
        "TRUNCATE audit_events, policy_violations",
    ]
    async with await psycopg.AsyncConnection.connect(
        migrated_database.plain_dsn, autocommit=True
    ) as connection:
        if role:
            await connection.execute("SET ROLE cortexops_app")
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
                await connection.execute(statement.encode())
            told = refused.value.diag.message_primary or ""
            assert "audit" in told or "permission denied" in told, statement
    assert await store.verify() == (9, [])


async def test_the_store_works_as_the_role_that_cannot_change_audit_rows(
    store: PostgresStore, migrated_database: Database
) -> None:
    found = await as_owner(
        migrated_database,
        "SELECT table_name, string_agg(privilege_type, ',' ORDER BY privilege_type) "
        "FROM information_schema.role_table_grants "
        "WHERE grantee = 'cortexops_app' AND (table_name LIKE 'audit%' OR table_name = 'policy_violations') "
        "GROUP BY 1 ORDER BY 1",
    )
    assert found == [
        ("audit_events", "INSERT,SELECT"),
        ("audit_heads", "SELECT"),
        ("policy_violations", "INSERT,SELECT"),
    ]
    with pytest.raises(PermanentError, match="permission denied"):
        async with store._database.begin() as connection:
            await connection.exec_driver_sql("DELETE FROM audit_events")


async def test_a_forged_event_that_does_not_follow_the_head_is_refused(store: PostgresStore) -> None:
    await three_chains(store)
    with pytest.raises(IntegrityError, match="does not follow"):
        async with store._database.begin() as connection:
            await connection.exec_driver_sql(
                "INSERT INTO audit_events (chain, number, idempotency_key, type, at, body, previous_hash, hash)"
                " VALUES ('INC-3', 3, 'k', 'verified', now(), '{}', 'p', 'h')"
            )


CHANGES = {
    "chain": ("'INC-0'", {("INC-0", 3, "column chain differs from the sealed content")}),
    "number": ("77", {("INC-1", 77, "column number differs from the sealed content")}),
    "idempotency_key": ("'other'", {("INC-1", 3, "column idempotency_key differs from the sealed content")}),
    "type": ("'resolved'", {("INC-1", 3, "column type differs from the sealed content")}),
    "at": ("at + interval '1 us'", {("INC-1", 3, "column at differs from the sealed content")}),
    "body": ("replace(body, 'because', 'so')", {("INC-1", 3, "content was changed")}),
    "previous_hash": (
        "repeat('1', 64)",
        {
            ("INC-1", 3, "column previous_hash differs from the sealed content"),
            ("INC-1", 3, "does not follow the row before it"),
        },
    ),
    "hash": (
        "repeat('1', 64)",
        {("INC-1", 3, "content was changed"), ("INC-1", 4, "does not follow the row before it")},
    ),
}


@pytest.mark.parametrize("column", CHANGES)
async def test_a_change_of_any_column_is_found_and_located(
    store: PostgresStore, migrated_database: Database, column: str
) -> None:
    value, expected = CHANGES[column]
    await three_chains(store)
    await tamper(
        migrated_database,
        f"UPDATE audit_events SET {column} = {value} WHERE chain = 'INC-1' AND number = 3",
    )
    checked, _ = await store.verify()
    assert checked == 9
    found = await faults_of(store)
    assert expected <= found
    assert all(chain in ("INC-0", "INC-1") for chain, _, _ in found)


async def test_all_columns_are_covered_by_the_tampering_test(migrated_database: Database) -> None:
    found = await as_owner(
        migrated_database,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'audit_events'",
    )
    assert {name for (name,) in found} == {*CHANGES, "cursor"}
    with pytest.raises(psycopg.errors.GeneratedAlways):
        await tamper(migrated_database, "UPDATE audit_events SET cursor = 99")


TAMPERINGS = {
    "spelling of the content": (
        ["UPDATE audit_events SET body = body || ' ' WHERE chain = 'INC-1' AND number = 5"],
        {("INC-1", 5, "content was changed")},
    ),
    "content that is no event": (
        ["UPDATE audit_events SET body = '[]' WHERE chain = 'INC-1' AND number = 2"],
        {("INC-1", 2, "content cannot be read")},
    ),
    "a removed row": (
        ["DELETE FROM audit_events WHERE chain = 'INC-1' AND number = 3"],
        {("INC-1", 3, "row is missing"), ("INC-1", 4, "does not follow the row before it")},
    ),
    "the first row removed": (
        ["DELETE FROM audit_events WHERE chain = 'INC-2' AND number = 1"],
        {("INC-2", 1, "row is missing"), ("INC-2", 2, "does not follow the row before it")},
    ),
    "a tail cut off": (
        ["DELETE FROM audit_events WHERE chain = 'INC-1' AND number > 3"],
        {("INC-1", 3, "rows after this one are missing")},
    ),
    "a whole chain removed": (
        ["DELETE FROM audit_events WHERE chain = 'INC-3'"],
        {("INC-3", 1, "all rows are missing")},
    ),
    "a chain and its head removed, its rows left": (
        ["DELETE FROM audit_heads WHERE chain = 'INC-2'"],
        {("INC-2", 3, "the chain's head is missing")},
    ),
    "the head moved": (
        ["UPDATE audit_heads SET number = 6 WHERE chain = 'INC-1'"],
        {("INC-1", 5, "rows after this one are missing")},
    ),
    "two rows exchanged": (
        [
            "UPDATE audit_events SET number = 99 WHERE chain = 'INC-1' AND number = 2",
            "UPDATE audit_events SET number = 2 WHERE chain = 'INC-1' AND number = 3",
            "UPDATE audit_events SET number = 3 WHERE chain = 'INC-1' AND number = 99",
        ],
        {
            ("INC-1", 2, "column number differs from the sealed content"),
            ("INC-1", 3, "column number differs from the sealed content"),
            ("INC-1", 2, "does not follow the row before it"),
        },
    ),
    "a row recorded anew": (
        [
            "CREATE TEMP TABLE kept AS SELECT * FROM audit_events WHERE chain = 'INC-2' AND number = 2",
            "DELETE FROM audit_events WHERE chain = 'INC-2' AND number = 2",
            "INSERT INTO audit_events (chain, number, idempotency_key, type, at, body, previous_hash, hash) "
            "SELECT chain, number, idempotency_key, type, at, body, previous_hash, hash FROM kept",
        ],
        {("INC-2", 3, "was recorded before the row that it follows")},
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_tampering_with_rows_is_found_and_located(
    store: PostgresStore, migrated_database: Database, what: str
) -> None:
    statements, expected = TAMPERINGS[what]
    await three_chains(store)
    await tamper(migrated_database, "DELETE FROM policy_violations", *statements)
    found = await faults_of(store)
    assert expected <= found
    assert {chain for chain, _, _ in found} == {chain for chain, _, _ in expected}


async def test_writing_goes_on_after_tampering_and_the_fault_stays_visible(
    store: PostgresStore, migrated_database: Database
) -> None:
    await three_chains(store)
    await tamper(migrated_database, "DELETE FROM audit_events WHERE chain = 'INC-2' AND number = 3")
    (event,) = await store.append([an_entry("INC-2")])
    assert event.number == 4
    assert ("INC-2", 3, "row is missing") in await faults_of(store)
