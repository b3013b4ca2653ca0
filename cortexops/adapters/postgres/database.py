"""Connections, transactions and errors of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from psycopg import errors as pg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cortexops.adapters.postgres import migrate
from cortexops.domain.errors import Conflict, IntegrityError, TemporaryError

_ROLE = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cortexops_app')
       AND pg_has_role(current_user, 'cortexops_app', 'MEMBER') THEN
        SET ROLE cortexops_app;
    END IF;
END $$
"""
_PAUSE = timedelta(seconds=1)


def temporary(error: Exception) -> TemporaryError:
    """Never the driver's text: it may hold the connection string."""
    cause = getattr(error, "orig", None) or error
    return TemporaryError(f"Postgres does not answer ({type(cause).__name__})", delay=_PAUSE)


class Database:
    """One pool. Every connection works as the role that may add audit rows but not change them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def connect(cls, dsn: str, pool_size: int) -> Database:
        """Raises `PermanentError` when the schema is not at head, `TemporaryError` when nobody answers."""
        engine = create_async_engine(
            dsn,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=10,
            connect_args={"connect_timeout": 5, "application_name": "cortexops"},
        )

        @event.listens_for(engine.sync_engine, "connect")
        def _as_application(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute(_ROLE)
            cursor.close()
            connection.commit()

        database = cls(engine)
        try:
            async with database.begin() as connection:
                await connection.run_sync(migrate.check)
        except BaseException:
            await engine.dispose()
            raise
        return database

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction; driver errors become ours."""
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError, PoolTimeout, ConnectionError) as error:
            if isinstance(getattr(error, "orig", None), pg.SerializationFailure | pg.DeadlockDetected):
                raise TemporaryError(
                    "two transactions met; try again", delay=timedelta(milliseconds=50)
                ) from None
            raise temporary(error) from None
        except DBAPIError as error:
            if isinstance(error.orig, pg.UniqueViolation):
                raise Conflict(f"a row of {error.orig.diag.table_name} is there already") from None
            if error.connection_invalidated or isinstance(error.orig, pg.OperationalError):
                raise temporary(error) from None
            if isinstance(error.orig, pg.IntegrityError):
                raise IntegrityError(f"{error.orig.diag.constraint_name} does not hold") from None
            raise

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
