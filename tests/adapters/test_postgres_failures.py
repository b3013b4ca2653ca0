"""The driver's errors in our terms, also those of its own cursor, which SQLAlchemy does not see."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from cortexops.adapters.postgres.failures import translated
from cortexops.domain.errors import Conflict, CortexError, PermanentError, TemporaryError

SECRET = "password=hunter2"
CASES: list[tuple[psycopg.Error, type[CortexError]]] = [
    (psycopg.errors.DiskFull(SECRET), TemporaryError),
    (psycopg.errors.AdminShutdown(SECRET), TemporaryError),
    (psycopg.errors.SerializationFailure(SECRET), TemporaryError),
    (psycopg.InterfaceError(SECRET), TemporaryError),
    (psycopg.errors.UniqueViolation(SECRET), Conflict),
    (psycopg.DataError(SECRET), PermanentError),
]


@pytest.mark.parametrize(("error", "ours"), CASES)
def test_an_error_means_the_same_with_and_without_sqlalchemy_around_it(
    error: psycopg.Error, ours: type[CortexError]
) -> None:
    with pytest.raises(ours) as bare, translated():
        raise error
    with pytest.raises(ours) as wrapped, translated():
        raise DBAPIError("COPY", {}, error)
    assert str(bare.value) == str(wrapped.value)
    assert SECRET not in str(bare.value)


def test_a_connection_that_sqlalchemy_gave_up_is_an_outage() -> None:
    with pytest.raises(TemporaryError), translated():
        raise DBAPIError("COPY", {}, psycopg.DatabaseError(), connection_invalidated=True)
