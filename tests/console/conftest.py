"""A migrated database for each test, copied from one that was migrated once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.migrate import upgrade
from tests.console.support import World
from tests.support.engines import Database, RunningEngines, fresh_database


@pytest.fixture(scope="session")
def migrated(engines: RunningEngines) -> Iterator[Database]:
    with fresh_database(engines) as database:
        upgrade(database.dsn)
        yield database


@pytest.fixture
def database(engines: RunningEngines, migrated: Database) -> Iterator[Database]:
    with fresh_database(engines, template=migrated.name) as made:
        yield made


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresStore]:
    made = await PostgresStore.connect(database.dsn, notifiers=["slack"], pool_size=2)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def world(store: PostgresStore) -> World:
    return World(store)
