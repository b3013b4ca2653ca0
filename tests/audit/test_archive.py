"""Retention: old rows go into a file, what stays can be checked, and nobody can take rows away otherwise."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.audit_archive import Written, read_archive
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import IntegrityError, InvalidInput, PermanentError
from tests.audit.support import LATER, NEXT_DAY, a_past, an_ended_incident, faults_of
from tests.support.engines import Database
from tests.support.postgres import an_entry, as_owner, opened, tamper


async def pruned(store: PostgresStore, folder: Path) -> Written:
    written = await store.prune(NEXT_DAY, folder, actor="ann", now=NEXT_DAY)
    assert written is not None
    return written


async def test_rows_of_ended_incidents_go_into_a_file_and_the_trail_stays_checkable(
    store: PostgresStore, tmp_path: Path
) -> None:
    chains = await a_past(store)
    still_open = await opened(store, "open", "run-open")
    written = await pruned(store, tmp_path)
    assert (written.rows, set(written.ends)) == (9, set(chains))
    assert [event.chain for _, event in [item async for item in store.export()]] == [
        still_open.id,
        "platform",
    ]
    (told,) = await store.events("platform")
    assert (told.type, told.actor, told.data["archive"]) == (AuditType.ARCHIVED, "ann", written.digest)
    checked = await store.examine()
    assert (checked.events, checked.faults, checked.unseen) == (2, [], 9)
    whole = await store.examine(archives=[read_archive(written.path)])
    assert (whole.events, whole.faults, whole.unseen) == (11, [], 0)
    one = await store.examine(chain=chains[1], archives=[read_archive(written.path)])
    assert (one.events, one.faults, one.unseen) == (3, [], 0)


async def test_a_chain_goes_on_after_its_rows_were_archived_and_can_be_archived_again(
    store: PostgresStore, tmp_path: Path
) -> None:
    chains = await a_past(store)
    first = await pruned(store, tmp_path)
    (later,) = await store.append([an_entry(chains[0], detail="reviewed", at=NEXT_DAY)])
    assert (later.number, later.previous_hash) == (4, first.ends[chains[0]][1])
    assert await faults_of(store) == set()
    await store.anchor(LATER)
    second = await pruned(store, tmp_path)
    assert second.ends == {chains[0]: (4, later.hash)}
    archives = [read_archive(one.path) for one in (second, first)]
    whole = await store.examine(archives=archives)
    assert (whole.events, whole.faults, whole.unseen) == (12, [], 0)


async def test_nothing_goes_that_is_not_anchored_or_of_an_incident_that_has_not_ended(
    store: PostgresStore, tmp_path: Path
) -> None:
    await an_ended_incident(store, "a")
    await opened(store, "open", "run-open")
    assert await store.prune(LATER, tmp_path, actor="ann", now=LATER) is None
    await store.anchor(NEXT_DAY)
    assert await store.prune(NEXT_DAY - timedelta(days=9), tmp_path, actor="ann", now=LATER) is None
    written = await store.prune(LATER, tmp_path, actor="ann", now=LATER)
    assert written is not None and written.rows == 3


async def test_a_chain_with_a_fault_is_not_archived(
    store: PostgresStore, migrated_database: Database, tmp_path: Path
) -> None:
    chains = await a_past(store)
    await tamper(
        migrated_database,
        f"UPDATE audit_events SET body = replace(body, 'step', 'leap') WHERE chain = '{chains[1]}'",
    )
    with pytest.raises(IntegrityError, match=f"{chains[1]} #2: content was changed; nothing was moved"):
        await pruned(store, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(await store.events(chains[0])) == 3


async def test_a_changed_archive_and_a_changed_checkpoint_are_found(
    store: PostgresStore, migrated_database: Database, tmp_path: Path
) -> None:
    chains = await a_past(store)
    written = await pruned(store, tmp_path)
    text = gzip.decompress(written.path.read_bytes())
    written.path.write_bytes(gzip.compress(text.replace(b"step 0", b"step 9")))
    assert await faults_of(store, archives=[read_archive(written.path)]) == {
        ("archives", 0, f"{written.path.name} is not an archive of this trail, or was changed")
    }
    await as_owner(migrated_database, "ALTER TABLE archive_checkpoints DISABLE TRIGGER USER")
    await as_owner(
        migrated_database,
        f"UPDATE archive_checkpoints SET hash = repeat('1', 64) WHERE chain = '{chains[0]}'",
    )
    await as_owner(migrated_database, f"DELETE FROM archive_checkpoints WHERE chain = '{chains[1]}'")
    found = await faults_of(store)
    assert (chains[0], 3, "rows after this one are missing") in found
    assert (chains[1], 1, "all rows are missing") in found
    assert (chains[1], 3, "all rows that the anchor of 2026-01-02 covers are missing") in found
    assert not any(chain == chains[2] for chain, _, _ in found)


async def test_an_archive_that_vanished_from_the_table_is_missed(
    store: PostgresStore, migrated_database: Database, tmp_path: Path
) -> None:
    await a_past(store)
    written = await pruned(store, tmp_path)
    for table in ("archives", "archive_checkpoints"):
        await as_owner(migrated_database, f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        await as_owner(migrated_database, f"DELETE FROM {table}")
    assert ("archives", 0, f"archive {written.digest[:12]}… is missing") in await faults_of(store)


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"{}\n", mtime=0), gzip.compress(b"[]", mtime=0)]
)
async def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="is no archive"):
        read_archive(path)


PRUNE = "SELECT audit_prune('digest', 'name', ARRAY['{}'], ARRAY[{}]::bigint[], ARRAY['{}'])"


async def test_the_application_cannot_prune_and_the_archivist_only_what_may_go(
    store: PostgresStore, migrated_database: Database
) -> None:
    chains = await a_past(store)
    events = await store.events(chains[0])
    open_one = await opened(store, "open", "run-open")
    (begun,) = await store.events(open_one.id)
    await store.anchor(LATER)
    fit = PRUNE.format(chains[0], 3, events[-1].hash)
    async with await psycopg.AsyncConnection.connect(
        migrated_database.plain_dsn, autocommit=True
    ) as connection:
        await connection.execute("SET ROLE cortexops_app")
        for statement in (fit, "DELETE FROM audit_events", "INSERT INTO archive_checkpoints DEFAULT VALUES"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement.encode())
        await connection.execute("SET ROLE cortexops_archivist")
        for statement in ("DELETE FROM audit_events", "INSERT INTO archive_checkpoints DEFAULT VALUES"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement.encode())
        for refused in (
            PRUNE.format(chains[0], 3, "0" * 64),
            PRUNE.format(chains[0], 4, events[-1].hash),
            PRUNE.format(open_one.id, 1, begun.hash),
            PRUNE.format("platform", 1, begun.hash),
        ):
            with pytest.raises(psycopg.errors.IntegrityError, match="cannot go"):
                await connection.execute(refused.encode())
        await connection.execute(PRUNE.format(chains[0], 2, events[1].hash).encode())
    assert [event.number for event in await store.events(chains[0])] == [3]


async def test_a_login_that_is_no_archivist_may_not_prune(
    migrated_database: Database, store: PostgresStore, tmp_path: Path
) -> None:
    await a_past(store)
    login = migrated_database.name
    await as_owner(migrated_database, f"CREATE ROLE {login} LOGIN PASSWORD 'pw' IN ROLE cortexops_app")
    server = migrated_database.dsn.rpartition("@")[2]
    limited = await PostgresStore.connect(f"postgresql+psycopg://{login}:pw@{server}")
    try:
        with pytest.raises(PermanentError, match="no member of cortexops_archivist"):
            await limited.prune(NEXT_DAY, tmp_path, actor="ann", now=NEXT_DAY)
        assert len([item async for item in limited.export()]) == 9
    finally:
        await limited.close()
        await as_owner(migrated_database, f"DROP ROLE {login}")
