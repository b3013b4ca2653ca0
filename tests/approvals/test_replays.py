"""A request of Slack is taken once by all consoles together, and by none that cannot ask the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from console.slack_socket import SlackSocket
from cortexops.adapters.postgres import PostgresStore
from tests.approvals.scene import slack_settings
from tests.console.support import World
from tests.support.case import DIGEST, open_case
from tests.support.engines import Database
from tests.support.postgres import as_owner
from tests.support.slack import FakeSlack, filled, posted, pressed, signed

URL = "/slack/interactions"


@pytest.fixture
async def consoles(migrated_database: Database, slack: FakeSlack) -> AsyncIterator[list[World]]:
    """Two processes of the console over one database: nothing but the database is shared."""
    stores = [
        await PostgresStore.connect(migrated_database.dsn, notifiers=["slack"], pool_size=3) for _ in "ab"
    ]
    yield [World(store, slack=slack_settings(slack)) for store in stores]
    for store in stores:
        await store.close()


async def post(office: World, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    async with office.client() as client:
        answer = await client.post(URL, content=body, headers=headers)
    return answer.status_code, json.loads(answer.content or "{}")


async def submission(office: World, slack: FakeSlack) -> tuple[bytes, dict[str, str]]:
    """A form that Ana has filled in, as Slack posts it."""
    incident = await open_case(office.store)
    value = json.dumps({"approval": f"{incident.id}-approval-1", "digest": DIGEST})
    now = office.clock().timestamp()
    button = posted(pressed("U0ANA", "cortexops_approve", value))
    assert (await post(office, button, signed(button, now)))[0] == 200
    view = slack.of("views.open")[-1]["view"]
    body = posted(filled("U0ANA", view, "seen"))
    return body, signed(body, now)


async def test_what_one_console_took_the_other_refuses(consoles: list[World], slack: FakeSlack) -> None:
    first, second = consoles
    body, headers = await submission(first, slack)
    assert (await post(first, body, headers))[0] == 200
    for office in (second, first):
        status, answer = await post(office, body, headers)
        assert (status, "received before" in answer["error"]) == (403, True)
    assert (len(first.votes.counted), len(second.votes.counted)) == (1, 0)
    events = await second.store.events("platform")
    assert {e.reason for e in events if e.type == "request_refused"} == {"replayed"}


async def test_of_many_at_once_one_is_taken(consoles: list[World], slack: FakeSlack) -> None:
    body, headers = await submission(consoles[0], slack)
    answers = await asyncio.gather(*(post(consoles[n % 2], body, headers) for n in range(12)))
    assert sorted(status for status, _ in answers) == [200] + [403] * 11
    assert sum(len(office.votes.counted) for office in consoles) == 1


async def test_an_envelope_that_another_console_handled_is_not_handled_again(
    consoles: list[World], slack: FakeSlack
) -> None:
    incident = await open_case(consoles[0].store)
    value = json.dumps({"approval": f"{incident.id}-approval-1", "digest": DIGEST})
    payload = pressed("U0ANA", "cortexops_approve", value)
    for number, office in enumerate(consoles):
        socket = SlackSocket(office.app.state.buttons, office.settings.slack, ping_seconds=0.2, patience=2)
        await socket.start()
        await slack.connected(number + 1)
        await slack.deliver("same", payload)
        await socket.stop()
    assert len(slack.of("views.open")) == 1


async def test_without_the_database_nothing_is_taken_and_afterwards_it_is(
    consoles: list[World], slack: FakeSlack, migrated_database: Database
) -> None:
    office = consoles[0]
    body, headers = await submission(office, slack)
    socket = SlackSocket(office.app.state.buttons, office.settings.slack, ping_seconds=0.2, patience=2)
    await socket.start()
    await slack.connected()
    await away(migrated_database, True)
    try:
        status, answer = await post(office, body, headers)
        assert (status, "Nothing was done" in answer["hint"]) == (503, True)
        shown = len(slack.of("views.open"))
        with pytest.raises(TimeoutError):
            await slack.deliver("lost", pressed("U0ANA", "cortexops_approve", "{}"))
        assert len(slack.of("views.open")) == shown
        assert office.votes.counted == []
    finally:
        await away(migrated_database, False)
        await socket.stop()
    async with asyncio.timeout(20):
        while (await post(office, body, headers))[0] == 503:
            await asyncio.sleep(0.2)
    assert len(office.votes.counted) == 1


async def away(database: Database, gone: bool) -> None:
    """Nobody gets to the database, and whoever was there is put out."""
    server = psycopg.conninfo.make_conninfo(database.plain_dsn, dbname="postgres")
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
        allowed = "false" if gone else "true"
        await connection.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS {allowed}'.encode())
        if gone:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name]
            )


async def test_marks_can_only_be_added_and_run_out(
    consoles: list[World], migrated_database: Database
) -> None:
    store = consoles[0].store
    assert await store.first_time("one", keep_seconds=600)
    assert not await store.first_time("one", keep_seconds=600)
    for statement in (
        "DELETE FROM seen_requests", "TRUNCATE seen_requests",
        "UPDATE seen_requests SET until = now() - interval '1 hour'", "UPDATE seen_requests SET mark = 'x'",
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await as_owner(migrated_database, statement)
    kept = await as_owner(migrated_database, "SELECT mark FROM seen_requests")
    assert len(kept) == 1
    assert "one" not in kept[0]


async def test_what_ran_out_is_forgotten_and_what_could_be_replayed_is_not(
    consoles: list[World], migrated_database: Database
) -> None:
    store = consoles[0].store
    for number in range(250):
        assert await store.first_time(f"old-{number}", keep_seconds=0)
    assert await store.first_time("live", keep_seconds=600)
    for number in range(4):
        await store.first_time(f"new-{number}", keep_seconds=600)
    ((rows,),) = await as_owner(migrated_database, "SELECT count(*) FROM seen_requests")
    assert rows == 5
    assert not await store.first_time("live", keep_seconds=600)
