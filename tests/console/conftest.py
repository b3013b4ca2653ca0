"""The console over a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cortexops.adapters.postgres import PostgresStore
from tests.console.support import World
from tests.support.engines import Database


@pytest.fixture
async def store(migrated_database: Database) -> AsyncIterator[PostgresStore]:
    made = await PostgresStore.connect(migrated_database.dsn, notifiers=["slack"], pool_size=2)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def world(store: PostgresStore) -> World:
    return World(store)
