"""The console's process says how it is: each part by name, and what only slows people down keeps no door shut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from activities.approval_watch import ApprovalWatch
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.errors import TemporaryError
from cortexops.settings import (
    ApprovalSettings,
    ConsoleSettings,
    PostgresSettings,
    Settings,
    SlackSettings,
    TemporalSettings,
)
from tests.console.support import World
from tests.support.engines import Database, RunningEngines
from tests.support.slack import APP_TOKEN, BOT_TOKEN, FakeSlack, fake_slack
from workers.app import WorkerApp

PARTS = {"approval_watch", "delivery", "slack_socket"}


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with fake_slack() as fake:
        yield fake


async def health(url: str) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/debug/healthz")
    return answer.status_code, answer.json()


async def test_the_process_of_the_console_names_its_watch_its_socket_and_its_delivery(
    engines: RunningEngines, migrated_database: Database, slack: FakeSlack
) -> None:
    settings = Settings(
        console=ConsoleSettings(port=0),
        postgres=PostgresSettings(dsn=SecretStr(migrated_database.dsn)),
        temporal=TemporalSettings(address=engines.temporal_address),
        slack=SlackSettings(
            bot_token=SecretStr(BOT_TOKEN), app_token=SecretStr(APP_TOKEN), api_url=slack.url
        ),
        approvals=ApprovalSettings(watch_seconds=0.2),
    )
    process = WorkerApp(settings, ["console"])
    await process.start()
    try:
        await slack.connected()
        status, body = await health(process.urls["console"])
        assert (status, body["status"]) == (200, "ok")
        assert set(body["components"]) >= PARTS | {"postgres", "temporal"}
        watch = next(part for part in process._watched if part.component == "approval_watch")
        assert isinstance(watch, ApprovalWatch)
        assert watch._running is not None
        watch._running.cancel()
        await asyncio.wait([watch._running])
        status, body = await health(process.urls["console"])
        assert (status, body["status"]) == (200, "degraded")
        assert body["components"]["approval_watch"] == {
            "healthy": False, "detail": "nobody watches the approvals",
        }  # fmt: skip
    finally:
        await process.stop()


@pytest.mark.parametrize("part", sorted(PARTS))
async def test_a_part_beside_degrades_and_the_database_does_not_answer_for_it(
    world: World, part: str
) -> None:
    async with world.client() as client:
        world.components[part] = "is away"
        answer = await client.get("/debug/healthz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["components"][part] == {"healthy": False, "detail": "is away"}
        world.components["postgres"] = "does not answer"
        answer = await client.get("/debug/healthz")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")


async def test_a_watch_that_cannot_look_says_so_and_is_well_again(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.approval_watch._PATIENCE", 0.1)
    looking = store.approvals

    async def away(**_: Any) -> Any:
        raise TemporaryError("the database is away")

    monkeypatch.setattr(store, "approvals", away)
    watch = ApprovalWatch(store, every_seconds=0.02, shares=(0.5,))
    assert watch.health() is None
    await watch.start()
    await until(lambda: "were not looked at" in str(watch.health()))
    monkeypatch.setattr(store, "approvals", looking)
    await until(lambda: watch.health() is None)
    await watch.stop()


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)
