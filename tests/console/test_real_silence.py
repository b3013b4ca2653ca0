"""A lift's whole way: HTTP, console, Temporal signal, the real workflow that was held, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.incident import IncidentState
from cortexops.domain.policy import Effect
from tests.console.real_workflow import begun, connected, real_workers
from tests.console.support import ANA, World
from tests.support.engines import RunningEngines
from tests.support.story import a_decision


@pytest.fixture
async def temporal(engines: RunningEngines) -> Client:
    return await connected(engines.temporal_address)


@pytest.fixture
async def queue(temporal: Client, store: PostgresStore, task_queue_prefix: str) -> AsyncIterator[str]:
    async with real_workers(temporal, store, task_queue_prefix, a_decision(Effect.ALLOW)) as name:
        yield name


async def _held(client: httpx.AsyncClient) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while True:
            found = (await client.get("/api/v1/incidents?open=true")).json()["incidents"]
            if found and found[0]["held_until"]:
                return dict(found[0])
            await asyncio.sleep(0.05)


async def test_a_held_incident_goes_on_as_soon_as_somebody_lifts_the_silence(
    queue: str, temporal: Client, store: PostgresStore
) -> None:
    async def connect() -> Client:
        return temporal

    world = World(store, connect=connect)
    world.clock.now = datetime.now(UTC)
    async with world.client(**ANA) as client:
        body = {"reason": "moving", "matcher": {"namespace": queue}, "minutes": 30}
        silence = (await client.post("/api/v1/silences", json=body)).json()
        running = await begun(temporal, queue, namespace=queue)
        held = await _held(client)
        assert (held["state"], held["attempts"]) == ("DETECTED", 0)
        lifted = (await client.delete(f"/api/v1/silences/{silence['id']}")).json()
        assert (lifted["told"], lifted["complete"]) == (1, True)
        async with asyncio.timeout(30):
            ended = await running.result()
        assert ended.state is IncidentState.RESOLVED
        shown = (await client.get(f"/api/v1/incidents/{held['id']}")).json()["incident"]
    assert shown["held_until"] is None
