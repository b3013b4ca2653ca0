"""A lift's whole way: HTTP, console, Temporal signal, the real workflow that was held, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities.records import RecordActivities
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.incident import (
    ADD_SIGNALS,
    INCIDENT_WORKFLOW,
    IncidentInput,
    SignalBatch,
    TaskQueue,
)
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.policy import Effect, PolicyDecision, PolicyInput
from cortexops.domain.resource import ResourceRef
from tests.console.support import ANA, World
from tests.support.engines import RunningEngines
from tests.support.story import World as Story
from tests.support.story import a_decision, a_signal
from workers.runner import sandbox
from workflows.incident import IncidentWorkflow


class Policy:
    async def evaluate(self, question: PolicyInput) -> PolicyDecision:
        return a_decision(Effect.ALLOW)


@pytest.fixture
async def temporal(engines: RunningEngines) -> Client:
    return await Client.connect(engines.temporal_address, data_converter=pydantic_data_converter)


@pytest.fixture
async def queue(temporal: Client, store: PostgresStore, task_queue_prefix: str) -> AsyncIterator[str]:
    """The name of a queue on which real workflows run, with real books."""
    records, story = RecordActivities(store, Policy()), Story()  # type: ignore[arg-type]
    books: list[Any] = [
        records.open_incident, records.record, records.decide, records.reassess, records.close_incident,
    ]  # fmt: skip
    acts: list[Any] = [story.investigate, story.remember, story.dry_run, story.apply, story.verify]
    name = f"{task_queue_prefix}incidents"
    workers = [
        Worker(
            temporal,
            task_queue=name,
            workflows=[IncidentWorkflow],
            activities=books,
            workflow_runner=sandbox(),
        ),
        *(
            Worker(temporal, task_queue=other, activities=acts)
            for other in TaskQueue
            if other != TaskQueue.INCIDENTS
        ),
    ]
    for worker in workers:
        await worker.__aenter__()
    try:
        yield name
    finally:
        for worker in workers:
            await worker.__aexit__(None, None, None)


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
    async def connected() -> Client:
        return temporal

    target = ResourceRef(cluster="test", kind="Deployment", namespace=queue, name="api")
    world = World(store, connect=connected)
    world.clock.now = datetime.now(UTC)
    async with world.client(**ANA) as client:
        body = {"reason": "moving", "matcher": {"namespace": queue}, "minutes": 30}
        silence = (await client.post("/api/v1/silences", json=body)).json()
        running = await temporal.start_workflow(
            INCIDENT_WORKFLOW,
            IncidentInput(resource=target, environment="staging"),
            id=f"incident:{target.key}",
            task_queue=queue,
            start_signal=ADD_SIGNALS,
            start_signal_args=[SignalBatch(signals=(a_signal(),))],
            result_type=Incident,
        )
        held = await _held(client)
        assert (held["state"], held["attempts"]) == ("DETECTED", 0)
        lifted = (await client.delete(f"/api/v1/silences/{silence['id']}")).json()
        assert (lifted["told"], lifted["complete"]) == (1, True)
        async with asyncio.timeout(30):
            ended = await running.result()
        assert ended.state is IncidentState.RESOLVED
        shown = (await client.get(f"/api/v1/incidents/{held['id']}")).json()["incident"]
    assert shown["held_until"] is None
