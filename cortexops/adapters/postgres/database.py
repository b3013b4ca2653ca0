"""Connections and transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cortexops.adapters.postgres import migrate
from cortexops.adapters.postgres.failures import database_url, translated
from cortexops.adapters.postgres.role import BECOME


class Database:
    """One pool. Every connection works as the role that may add audit rows but not change them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def connect(cls, dsn: str, pool_size: int) -> Database:
        """Raises `PermanentError` when the schema is not at head, `TemporaryError` when nobody answers."""
        engine = create_async_engine(
            database_url(dsn),
            pool_size=pool_size,
            max_overflow=0,
            pool_pre_ping=True,  # a connection that did not survive the server's restart is replaced
            pool_timeout=10,
            connect_args={
                "connect_timeout": 5,
                "tcp_user_timeout": 20_000,  # ms: a server behind a dead line is given up
                "application_name": "cortexops",
            },
        )

        @event.listens_for(engine.sync_engine, "connect")
        def _as_application(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute(BECOME)
            cursor.close()
            connection.commit()

        database = cls(engine)
        try:
            await asyncio.to_thread(migrate.head)  # reads files; kept off the event loop
            async with database.begin() as connection:
                await connection.run_sync(migrate.check)
        except BaseException:
            await engine.dispose()
            raise
        return database

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction; driver errors become ours."""
        with translated():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A reading transaction in which all statements see the same state of the database."""
        with translated():
            async with self._engine.connect() as connection:
                await connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                async with connection.begin():
                    yield connection

    async def close(self) -> None:
        await self._engine.dispose()


async def rows(connection: AsyncConnection, sql: str, **values: Any) -> Sequence[Mapping[str, Any]]:
    """All rows of a statement as mappings."""
    result = await connection.execute(text(sql), values)
    return [dict(found) for found in result.mappings()]


async def row(connection: AsyncConnection, sql: str, **values: Any) -> Mapping[str, Any] | None:
    """The only row, or None."""
    result = await connection.execute(text(sql), values)
    found = result.mappings().one_or_none()
    return dict(found) if found is not None else None


async def run(connection: AsyncConnection, sql: str, **values: Any) -> int:
    """Execute; returns how many rows it touched."""
    result = await connection.execute(text(sql), values)
    return int(getattr(result, "rowcount", 0))


@asynccontextmanager
async def streamed(
    connection: AsyncConnection, sql: str, **values: Any
) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
    """The rows of a statement through a cursor of the server's: memory holds one page of them."""
    result = await connection.stream(text(sql), values, execution_options={"yield_per": 500})
    try:
        yield (dict(found) async for found in result.mappings())
    finally:
        await result.close()
