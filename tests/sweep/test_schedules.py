"""The schedules: there after a start, however many workers start; as configured; as people left them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client, ScheduleActionStartWorkflow
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from activities.sweeping import BookSweeping
from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.temporal_runs import Runs
from cortexops.contracts.sweeping import ANCHOR_WORKFLOW, AnchorReport, SweepQueue
from cortexops.metrics import AUDIT_ANCHORED
from cortexops.settings import SweepSettings
from tests.support.engines import RunningEngines
from tests.support.postgres import an_entry
from workers.schedules import ANCHOR_SCHEDULE, SWEEP_SCHEDULE, Schedules, book_sweeper, ensure


@pytest.fixture
async def client(engines: RunningEngines) -> AsyncIterator[Client]:
    client = await Client.connect(engines.temporal_address, data_converter=pydantic_data_converter)
    yield client
    await ensure(client, SweepSettings(enabled=False))


async def every(client: Client) -> timedelta:
    found = await client.get_schedule_handle(SWEEP_SCHEDULE).describe()
    return found.schedule.spec.intervals[0].every


async def test_many_workers_make_one_schedule_each(client: Client) -> None:
    settings = SweepSettings(interval_seconds=3600)
    await asyncio.gather(*(ensure(client, settings) for _ in range(5)))
    assert await every(client) == timedelta(hours=1)
    anchor = await client.get_schedule_handle(ANCHOR_SCHEDULE).describe()
    assert isinstance(anchor.schedule.action, ScheduleActionStartWorkflow)
    assert anchor.schedule.action.task_queue == SweepQueue.BOOKS
    updated = anchor.info.last_updated_at
    await ensure(client, settings)
    again = await client.get_schedule_handle(ANCHOR_SCHEDULE).describe()
    assert again.info.last_updated_at == updated, "what is as wanted is not touched"


async def test_a_changed_setting_is_taken_and_a_pause_is_kept(client: Client) -> None:
    await ensure(client, SweepSettings(interval_seconds=3600))
    await client.get_schedule_handle(SWEEP_SCHEDULE).pause(note="night of the move")
    await ensure(client, SweepSettings(interval_seconds=7200))
    found = await client.get_schedule_handle(SWEEP_SCHEDULE).describe()
    assert found.schedule.spec.intervals[0].every == timedelta(hours=2)
    assert (found.schedule.state.paused, found.schedule.state.note) == (True, "night of the move")


async def test_switched_off_they_are_gone(client: Client) -> None:
    part = Schedules(client, SweepSettings(interval_seconds=3600))
    await part.start()
    async with asyncio.timeout(10):
        while True:
            try:
                await every(client)
                break
            except RPCError:
                await asyncio.sleep(0.05)
    await part.stop()
    await ensure(client, SweepSettings(enabled=False))
    with pytest.raises(RPCError):
        await every(client)
    await ensure(client, SweepSettings(enabled=False))


async def test_the_daily_workflow_anchors_what_is_due_once(
    client: Client, store: PostgresStore, task_queue_prefix: str
) -> None:
    await store.append([an_entry("a"), an_entry("b")])
    books = BookSweeping(store, Runs(client, store.run_is_known), grace=timedelta(0))

    async def anchored(name: str) -> AnchorReport:
        report: AnchorReport = await client.execute_workflow(
            ANCHOR_WORKFLOW,
            id=f"{task_queue_prefix}{name}",
            task_queue=SweepQueue.BOOKS,
            result_type=AnchorReport,
            execution_timeout=timedelta(seconds=30),
        )
        return report

    async with book_sweeper(client, books):
        first, second = await anchored("first"), await anchored("second")
    yesterday = str(datetime.now(UTC).date() - timedelta(days=1))
    assert first.days == (yesterday,)
    assert (second.days, second.newest) == ((), first.newest)
    assert (await store.examine(anchor=first.newest)).faults == []
    (family,) = AUDIT_ANCHORED.collect()
    assert family.samples[0].value > 0
