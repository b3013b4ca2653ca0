"""Schema migrations: forward only, run under an advisory lock, checked before anything is written."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.resources import migrations_path

_LOCK = 7_021_966  # any number; the same in every process


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    return config


def head() -> str:
    """The newest revision that this code knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise PermanentError("migrations: none were found in this installation")
    return revision


def upgrade(dsn: str) -> str:
    """Bring the schema to head; safe to call from several processes at once. Returns the revision.

    Raises `TemporaryError` when the server cannot be reached.
    """
    engine = create_engine(dsn, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            try:
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
                connection.commit()
    except OperationalError as error:
        raise TemporaryError(f"Postgres cannot be reached: {type(error.orig).__name__}") from None
    finally:
        engine.dispose()
    return head()


def check(connection: Connection) -> None:
    """Raise `PermanentError` unless the schema is at head."""
    present = MigrationContext.configure(connection).get_current_revision()
    wanted = head()
    if present != wanted:
        raise PermanentError(
            f"the database's schema is at {present or 'nothing'}, this version needs {wanted}: run `cortexops migrate`"
        )
