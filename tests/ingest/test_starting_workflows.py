"""From a signal to a workflow, over real NATS, Temporal and Postgres. No worker runs: starting needs none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter

from cortexops.adapters.nats import JetStreamBus
from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.migrate import upgrade
from cortexops.contracts.incident import IncidentInput, SignalBatch
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.incident import MOST_LINKED
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import FateReason, Signal, SignalFate, SignalStatus
from cortexops.settings import Settings
from ingest.accept import accept
from ingest.correlator import Correlator
from ingest.owners import OwnerResolver
from ingest.starter import TemporalStarter, batches
from sandbox.engines.nats import NatsEngine
from tests.ingest.support import settings, signal
from tests.support.engines import Database, RunningEngines


def temporal_settings(engines: RunningEngines, nats_url: str = "nats://127.0.0.1:4222") -> Settings:
    return settings(nats_url, temporal={"address": engines.temporal_address})


async def staging(_: ResourceRef) -> str:
    return "staging"


@pytest.fixture
async def temporal(engines: RunningEngines) -> Client:
    return await Client.connect(engines.temporal_address, data_converter=pydantic_data_converter)


async def received(client: Client, key: str) -> tuple[list[IncidentInput], list[SignalBatch]]:
    """The inputs and signals in the newest run's history."""
    history = await client.get_workflow_handle(key).fetch_history()
    decode = client.data_converter.decode
    inputs, told = [], []
    for event in history.events:
        if event.HasField("workflow_execution_started_event_attributes"):
            payloads = event.workflow_execution_started_event_attributes.input.payloads
            inputs.extend(await decode(payloads, [IncidentInput]))
        elif event.HasField("workflow_execution_signaled_event_attributes"):
            payloads = event.workflow_execution_signaled_event_attributes.input.payloads
            told.extend(await decode(payloads, [SignalBatch]))
    return inputs, told


def documents_of(*signals: Signal) -> list[str]:
    return [signal.model_dump_json() for signal in signals]


def read(documents: Iterable[str]) -> list[SignalBatch]:
    return [SignalBatch.model_validate_json(document) for document in documents]


async def runs(client: Client, key: str) -> int:
    return len([one async for one in client.list_workflows(f'WorkflowId = "{key}"')])


async def test_signal_with_start_says_whether_it_started(
    engines: RunningEngines, temporal: Client, task_queue_prefix: str
) -> None:
    configured = temporal_settings(engines)
    starter = TemporalStarter(configured, staging)
    first, second = signal("A", cluster=task_queue_prefix), signal("B", cluster=task_queue_prefix)
    key = f"incident:{first.resource.key}"
    assert await starter.add(key, documents_of(first)) is False
    assert await starter.deliver(key, first.resource, documents_of(first)) is True
    assert await starter.deliver(key, first.resource, documents_of(second)) is False
    assert await starter.add(key, documents_of(first)) is True
    inputs, told = await received(temporal, key)
    assert inputs == [IncidentInput(resource=first.resource, environment="staging")]
    assert [batch.signals for batch in told] == [(first,), (second,), (first,)]
    handle = temporal.get_workflow_handle(key)
    await handle.terminate()
    assert await starter.add(key, documents_of(second)) is False
    assert await starter.deliver(key, first.resource, documents_of(second)) is True
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    assert await starter.health() is None
    await handle.terminate()


async def test_an_absent_temporal_is_a_temporary_error() -> None:
    starter = TemporalStarter(settings(temporal={"address": "127.0.0.1:9"}), staging)
    one = signal()
    with pytest.raises(TemporaryError):
        await starter.deliver("incident:x", one.resource, documents_of(one))
    assert await starter.health() is not None


def test_batches_are_bounded_in_number_and_size() -> None:
    many = [signal(f"A{n}") for n in range(450)]
    apps = [one.resource.model_copy(update={"name": f"app{n}"}) for n, one in enumerate(many)]
    assert [len(batch.linked) for batch in read(batches(documents_of(*many), apps[:40]))] == [40] + [0] * 14
    assert [len(batch.linked) for batch in read(batches([], apps))] == [MOST_LINKED]
    assert [len(batch.signals) for batch in read(batches(documents_of(*many)))] == [32] * 14 + [2]
    assert [one for batch in read(batches(documents_of(*many))) for one in batch.signals] == many
    heavy = documents_of(*(signal(f"A{n}", labels={"x": "y" * 200_000}) for n in range(5)))
    assert [len(batch.signals) for batch in read(batches(heavy))] == [2, 2, 1]
    with pytest.raises(PermanentError):
        list(batches(documents_of(signal(labels={"x": "y" * 600_000}))))
    assert list(batches([])) == []


@asynccontextmanager
async def pipeline(
    engines: RunningEngines, nats: NatsEngine, database: Database
) -> AsyncIterator[tuple[JetStreamBus, PostgresStore]]:
    upgrade(database.dsn)
    configured = temporal_settings(engines, nats.endpoint.url)
    store = await PostgresStore.connect(database.dsn)
    try:
        async with await JetStreamBus.connect(configured.nats) as bus:
            starter = TemporalStarter(configured, staging)
            correlator = Correlator(configured, bus, store, starter, OwnerResolver({}))
            await correlator.start()
            try:
                yield bus, store
            finally:
                await correlator.stop()
    finally:
        await store.close()


async def test_ten_posts_redelivery_and_a_restart_are_one_workflow_and_every_fate_is_kept(
    engines: RunningEngines,
    temporal: Client,
    nats_server: NatsEngine,
    postgres_database: Database,
    task_queue_prefix: str,
) -> None:
    cluster = task_queue_prefix
    one, two = signal("A", cluster=cluster), signal("B", cluster=cluster)
    end = signal("A", cluster=cluster, status=SignalStatus.RESOLVED)
    key = f"incident:{one.resource.key}"
    async with pipeline(engines, nats_server, postgres_database) as (bus, store):
        for _ in range(10):
            await accept(bus, [one])
        await settled(store, one.id)
    async with pipeline(engines, nats_server, postgres_database) as (bus, store):
        await accept(bus, [two])
        await settled(store, two.id)
        await accept(bus, [end])
        await settled(store, end.id)
        records = [await store.signal(item.id) for item in (one, two, end)]
        fates = [record.fate for record in records if record is not None]
        assert fates == [
            (SignalFate.STARTED, FateReason.NEW_INCIDENT),
            (SignalFate.MERGED, FateReason.OPEN_INCIDENT),
            (SignalFate.MERGED, FateReason.OPEN_INCIDENT),
        ]
    _, told = await received(temporal, key)
    assert [batch.signals for batch in told] == [(one,), (two,), (end,)]
    assert await runs(temporal, key) <= 1  # the list lags; there are never two
    await temporal.get_workflow_handle(key).terminate()


async def settled(store: PostgresStore, signal_id: str) -> None:
    for _ in range(200):
        if await store.known_signals([signal_id]):
            return
        await asyncio.sleep(0.04)
    pytest.fail("the signal has no fate")
