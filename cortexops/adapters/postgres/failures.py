"""The database's errors in our terms. No text of the driver passes: it may hold connection strings or data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from psycopg import errors as pg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cortexops.domain.errors import (
    Conflict,
    CortexError,
    IntegrityError,
    InvalidInput,
    NotFound,
    PermanentError,
    TemporaryError,
)

_PAUSE = timedelta(seconds=1)
_SHORT_PAUSE = timedelta(milliseconds=50)


def database_url(dsn: str) -> URL:
    """The URL with our driver. Raises `InvalidInput` that does not repeat it."""
    try:
        url = make_url(dsn)
    except (ArgumentError, ValueError):  # the latter quotes what stands in the port's place: perhaps a secret
        raise InvalidInput("postgres.dsn", "is not a database URL (postgresql+psycopg://…)") from None
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "postgresql+psycopg":
        raise InvalidInput("postgres.dsn", "must begin with postgresql+psycopg://")
    return url


@contextmanager
def translated() -> Iterator[None]:
    """Whatever the driver raises within becomes one of our errors."""
    try:
        yield
    except DBAPIError as error:
        raise _ours(error.orig, lost=error.connection_invalidated) from None
    except pg.Error as error:  # of the driver's own cursor, which copies
        raise _ours(error) from None
    except PoolTimeout:
        raise TemporaryError("all connections to Postgres are in use", delay=_PAUSE) from None
    except (ConnectionError, TimeoutError) as error:
        raise TemporaryError(f"Postgres does not answer ({type(error).__name__})", delay=_PAUSE) from None


def _ours(cause: BaseException | None, *, lost: bool = False) -> CortexError:
    name = type(cause).__name__
    if isinstance(cause, pg.SerializationFailure | pg.DeadlockDetected):
        return TemporaryError("two transactions met; try again", delay=_SHORT_PAUSE)
    if isinstance(cause, pg.InvalidPassword | pg.InvalidAuthorizationSpecification) or (
        isinstance(cause, pg.OperationalError) and "authentication failed" in str(cause)
    ):
        return TemporaryError("Postgres refuses the user or the password", delay=_PAUSE)
    if lost or isinstance(cause, pg.OperationalError | pg.InterfaceError):
        return TemporaryError(f"Postgres does not answer ({name})", delay=_PAUSE)
    if isinstance(cause, pg.UniqueViolation):
        return Conflict(f"another row of {cause.diag.table_name} is there already")
    if isinstance(cause, pg.ForeignKeyViolation):
        return NotFound(f"what the row of {cause.diag.table_name} belongs to is not there")
    if isinstance(cause, pg.IntegrityError):
        return IntegrityError(f"the database refuses the row: {cause.diag.message_primary or name}")
    if isinstance(cause, pg.InsufficientPrivilege):
        return PermanentError(f"the database refuses: {cause.diag.message_primary or name}")
    return PermanentError(f"the database cannot do this ({name})")
