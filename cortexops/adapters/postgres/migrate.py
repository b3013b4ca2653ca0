"""Schema migrations: forward only, run under an advisory lock, checked before anything is written."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from cortexops.adapters.postgres.failures import database_url, translated
from cortexops.adapters.postgres.role import GRANTS
from cortexops.domain.errors import PermanentError
from cortexops.resources import migrations_path

_LOCK = 7_021_966  # any number; the same in every process
_alembic = threading.Lock()
"""Alembic keeps its context in module globals: one migration at a time within a process."""


def _config(folder: Path | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder or migrations_path()).replace("%", "%%"))
    return config


def _engine(dsn: str) -> Engine:
    return create_engine(database_url(dsn), poolclass=NullPool, connect_args={"connect_timeout": 5})


def head() -> str:
    """The newest revision that this code knows. The files of an installation do not change while it runs, so
    they are read once a process. Raises `PermanentError` when there are none."""
    return _head_of(migrations_path())


@cache
def _head_of(folder: Path) -> str:
    revision = ScriptDirectory.from_config(_config(folder)).get_current_head()
    if revision is None:
        raise PermanentError("migrations: none were found in this installation")
    return revision


def current(dsn: str) -> str | None:
    """The revision that the database is at; None when it was never migrated.

    Raises `TemporaryError` when the server cannot be reached.
    """
    engine = _engine(dsn)
    try:
        with translated(), engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def upgrade(dsn: str) -> str:
    """Bring the schema to head in one transaction; safe to call from several processes at once.

    Returns the revision. Raises `TemporaryError` when the server cannot be reached, `PermanentError` when
    the database is at a revision that this version does not know.
    """
    engine = _engine(dsn)
    try:
        with _alembic, translated(), engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            for statement in GRANTS:
                connection.execute(text(statement))
    except CommandError as error:
        raise PermanentError(f"the database was migrated by another version: {error}") from None
    finally:
        engine.dispose()
    return head()


def check(connection: Connection) -> None:
    """Raise `PermanentError` unless the schema is at head."""
    present = MigrationContext.configure(connection).get_current_revision()
    wanted = head()
    if present != wanted:
        raise PermanentError(
            f"the database's schema is at {present or 'nothing'}, this version needs {wanted}: "
            "run `cortexops migrate`"
        )
