"""Connecting, migrating, the application's role, and what happens when the server goes away."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cortexops import resources
from cortexops.adapters.postgres import PostgresStore, migrate
from cortexops.adapters.postgres.migrate import current, head, upgrade
from cortexops.domain.errors import InvalidInput, PermanentError, TemporaryError
from sandbox.engines.ports import free_port
from sandbox.engines.postgres import PostgresEngine
from tests.support.engines import Database, scratch_folder
from tests.support.postgres import an_entry, as_owner, opened

SECRET = "hunter2hunter2"


async def test_an_empty_database_is_refused_with_what_to_do(postgres_database: Database) -> None:
    assert current(postgres_database.dsn) is None
    with pytest.raises(PermanentError, match="run `cortexops migrate`"):
        await PostgresStore.connect(postgres_database.dsn)


async def test_several_processes_may_migrate_at_once(postgres_database: Database) -> None:
    done: list[str] = []
    threads = [threading.Thread(target=lambda: done.append(upgrade(postgres_database.dsn))) for _ in range(3)]
    others = [
        await asyncio.create_subprocess_exec(
            "python",
            "-c",
            "import os; from cortexops.adapters.postgres.migrate import upgrade; upgrade(os.environ['DSN'])",
            env={"DSN": postgres_database.dsn, "PATH": _path(), "PYTHONPATH": str(_root())},
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    codes = [await process.wait() for process in others]
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert codes == [0, 0]
    assert done == [head()] * 3
    assert current(postgres_database.dsn) == head()
    connected = await PostgresStore.connect(postgres_database.plain_dsn)
    assert await connected.health() is None
    await connected.close()


async def test_connecting_again_reads_no_migrations_again(
    migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await PostgresStore.connect(migrated_database.dsn)
    await first.close()
    monkeypatch.setattr(migrate, "ScriptDirectory", None)  # whoever reads them fails
    again = await PostgresStore.connect(migrated_database.dsn)
    assert await again.health() is None
    await again.close()


def test_another_folder_of_migrations_has_another_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = head()
    shutil.copytree(resources.migrations_path(), tmp_path / "migrations")
    newer = f'revision = "next"\ndown_revision = "{known}"\n\n\ndef upgrade() -> None:\n    """Nothing."""\n'
    (tmp_path / "migrations/versions/9999_next.py").write_text(newer)
    monkeypatch.setattr(migrate, "migrations_path", lambda: tmp_path / "migrations")
    assert head() == "next"


def _root() -> Path:
    return Path(resources.__file__).resolve().parents[1]


def _path() -> str:
    import sys

    return str(Path(sys.executable).parent)


async def test_a_database_of_another_version_is_refused(migrated_database: Database) -> None:
    await as_owner(migrated_database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(PermanentError, match="9999"):
        await PostgresStore.connect(migrated_database.dsn)
    with pytest.raises(PermanentError, match="another version"):
        upgrade(migrated_database.dsn)


def test_migrations_and_policies_are_found_in_the_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (resources.migrations_path() / "versions").is_dir()
    for name, witness in (("migrations", "env.py"), ("policies", "decision.rego")):
        inside = tmp_path / "site-packages" / "cortexops" / "_data" / name
        inside.mkdir(parents=True)
        (inside / witness).touch()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "site-packages" / "cortexops")
    assert resources.migrations_path() == tmp_path / "site-packages/cortexops/_data/migrations"
    assert resources.policies_path() == tmp_path / "site-packages/cortexops/_data/policies"
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "elsewhere" / "cortexops")
    with pytest.raises(PermanentError, match="install"):
        resources.migrations_path()


async def test_an_ordinary_user_can_migrate_and_works_as_the_application(
    migrated_database: Database, postgres_database: Database
) -> None:
    """The owner of one database who may make no roles; the role is there from another migration."""
    user = f"owner_{postgres_database.name}"
    name = sql.Identifier(user)
    async with await psycopg.AsyncConnection.connect(postgres_database.plain_dsn, autocommit=True) as owner:
        await owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(SECRET)))
        database = sql.Identifier(postgres_database.name)
        await owner.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, name))
    dsn = _with_login(postgres_database, user, SECRET)
    assert upgrade(dsn) == head()
    store = await PostgresStore.connect(dsn)
    try:
        await store.append([an_entry()])
        async with store._database.begin() as connection:
            before = await connection.exec_driver_sql("SELECT current_user")
            assert before.scalar_one() == user  # not a member: the triggers alone protect
        with pytest.raises(PermanentError, match="only be added"):
            async with store._database.begin() as connection:
                await connection.exec_driver_sql("DELETE FROM audit_events")
    finally:
        await store.close()
    member = sql.SQL("GRANT cortexops_app TO {}").format(name)
    async with await psycopg.AsyncConnection.connect(postgres_database.plain_dsn, autocommit=True) as owner:
        await owner.execute(member)
    store = await PostgresStore.connect(dsn)
    try:
        await opened(store)
        async with store._database.begin() as connection:
            after = await connection.exec_driver_sql("SELECT current_user")
            assert after.scalar_one() == "cortexops_app"
        assert (await store.verify())[1] == []
    finally:
        await store.close()
        async with await psycopg.AsyncConnection.connect(
            postgres_database.plain_dsn, autocommit=True
        ) as owner:
            await owner.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(name))
            await owner.execute(sql.SQL("DROP OWNED BY {}").format(name))
            await owner.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(
                    sql.Identifier(postgres_database.name)
                )
            )
            await owner.execute(sql.SQL("DROP ROLE {}").format(name))


def _with_login(database: Database, user: str, password: str) -> str:
    place = database.dsn.rpartition("@")[2]
    return f"postgresql+psycopg://{user}:{password}@{place}"


async def test_a_server_that_is_not_there_is_temporary_and_no_secret_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dsn = f"postgresql+psycopg://app:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/db"
        with pytest.raises(TemporaryError) as refused:
            await PostgresStore.connect(dsn)
        with pytest.raises(TemporaryError) as unmigrated:
            upgrade(dsn)
    for error in (refused.value, unmigrated.value):
        assert SECRET not in str(error)
        assert "127.0.0.1" not in str(error)
        assert error.__cause__ is None


async def test_a_wrong_password_is_named_but_not_repeated(migrated_database: Database) -> None:
    with pytest.raises(TemporaryError, match="refuses the user or the password") as refused:
        await PostgresStore.connect(_with_login(migrated_database, "cortexops", SECRET))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "dsn",
    ["", f"no url {SECRET}", f"mysql://app:{SECRET}@h/db", f"postgresql://app:{SECRET}", f"://app:{SECRET}@"],
)
async def test_what_is_no_database_url_is_not_repeated(dsn: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await PostgresStore.connect(dsn)
    assert SECRET not in str(refused.value)
    assert refused.value.field == "postgres.dsn"


async def test_an_exhausted_pool_is_temporary(
    migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await PostgresStore.connect(migrated_database.dsn, pool_size=1)
    pool = store._database._engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.1)
    try:
        async with store._database.begin():
            with pytest.raises(TemporaryError, match="in use"):
                await store.incident("INC-1")
        assert await store.incident("INC-1") is None
    finally:
        await store.close()


async def test_the_store_survives_restarts_of_postgres() -> None:
    with scratch_folder() as folder:
        server = PostgresEngine(folder, port=free_port())
        await server.start()
        try:
            await asyncio.to_thread(upgrade, server.endpoint.dsn)
            store = await PostgresStore.connect(server.endpoint.dsn, notifiers=("slack",))
            try:
                await asyncio.gather(*(opened(store, run=str(n)) for n in range(5)))
                await server.restart()
                assert (await opened(store, run="after")).id.endswith("-006")
                server.kill9()
                with pytest.raises(TemporaryError):
                    await store.append([an_entry()])
                assert "does not answer" in str(await store.health())
                await server.stop()
                await server.start()
                await store.append([an_entry()])
                assert await store.health() is None
                assert (await opened(store, run="later")).id.endswith("-007")
                assert await store.verify() == (8, [])
            finally:
                await store.close()
        finally:
            await server.stop()
