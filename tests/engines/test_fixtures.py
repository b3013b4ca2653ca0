"""The corners of the shared engines that each test gets for itself."""

from __future__ import annotations

import nats
import psycopg

from sandbox.engines.nats import NatsEngine
from tests.support.engines import (  # noqa: F401  (fixtures)
    Database,
    RunningEngines,
    engines,
    fresh_database,
    nats_server,
    postgres_database,
    task_queue_prefix,
)


def test_databases_are_copies_of_the_template_and_apart(
    engines: RunningEngines,  # noqa: F811
    postgres_database: Database,  # noqa: F811
) -> None:
    with psycopg.connect(postgres_database.plain_dsn) as connection:
        connection.execute("CREATE TABLE t (a int)")
    with fresh_database(engines, template=postgres_database.name) as copy:
        with psycopg.connect(copy.plain_dsn) as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
            connection.execute("DROP TABLE t")
    with psycopg.connect(postgres_database.plain_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


async def test_a_test_may_have_a_bus_of_its_own(nats_server: NatsEngine, task_queue_prefix: str) -> None:  # noqa: F811
    client = await nats.connect(nats_server.endpoint.url)
    assert await client.jetstream().streams_info() == []
    await client.close()
    assert task_queue_prefix.endswith("-")
