"""The nightly archive: only where a folder and an age are set, and only into a folder that is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode

from activities.sweeping import Archiving, BookSweeping
from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.audit_archive import read_archive
from cortexops.adapters.temporal_runs import Runs
from cortexops.contracts.sweeping import ARCHIVE_WORKFLOW, ArchiveReport, SweepQueue
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import PermanentError
from cortexops.settings import AuditSettings, SweepSettings
from tests.audit.support import NEXT_DAY, a_past
from tests.support.engines import RunningEngines
from tests.support.postgres import opened
from workers.schedules import ANCHOR_SCHEDULE, ARCHIVE_SCHEDULE, archives, book_sweeper, ensure

SWEEP = SweepSettings(interval_seconds=3600)
LATER = NEXT_DAY + timedelta(days=40)


@pytest.fixture
async def client(engines: RunningEngines) -> AsyncIterator[Client]:
    client = await Client.connect(engines.temporal_address, data_converter=pydantic_data_converter)
    yield client
    await ensure(client, SweepSettings(enabled=False))


async def scheduled(client: Client, name: str = ARCHIVE_SCHEDULE) -> bool:
    try:
        await client.get_schedule_handle(name).describe()
    except RPCError as error:
        assert error.status is RPCStatusCode.NOT_FOUND
        return False
    return True


def books(
    client: Client, store: PostgresStore, archiving: Archiving | None, now: datetime = LATER
) -> BookSweeping:
    runs = Runs(client, store.run_is_known)
    return BookSweeping(store, runs, grace=timedelta(0), archiving=archiving, clock=lambda: now)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, False),
        ({"archive_path": "/somewhere"}, False),
        ({"retention_days": 90}, False),
        ({"archive_path": "/somewhere", "retention_days": 90}, True),
        ({"archive_path": "/somewhere", "retention_days": 90, "archive_daily": False}, False),
    ],
)
def test_nothing_is_archived_unless_folder_and_age_are_set(settings: dict[str, object], wanted: bool) -> None:
    assert archives(AuditSettings.model_validate(settings)) is wanted


async def test_the_schedule_comes_and_goes_with_the_settings(client: Client, tmp_path: Path) -> None:
    on = AuditSettings(archive_path=tmp_path, retention_days=30)
    await ensure(client, SWEEP)
    assert not await scheduled(client)
    await ensure(client, SWEEP, on)
    found = await client.get_schedule_handle(ARCHIVE_SCHEDULE).describe()
    (calendar,) = found.schedule.spec.calendars
    assert (calendar.hour[0].start, calendar.minute[0].start) == (0, 45)
    await ensure(client, SWEEP, AuditSettings(archive_path=tmp_path))
    assert not await scheduled(client)
    assert await scheduled(client, ANCHOR_SCHEDULE)


async def test_the_nightly_workflow_archives_what_is_old_once(
    client: Client, store: PostgresStore, task_queue_prefix: str, tmp_path: Path
) -> None:
    chains = await a_past(store)
    young = await opened(store, "open", "run-open")

    async def run(name: str) -> ArchiveReport:
        report: ArchiveReport = await client.execute_workflow(
            ARCHIVE_WORKFLOW,
            id=f"{task_queue_prefix}{name}",
            task_queue=SweepQueue.BOOKS,
            result_type=ArchiveReport,
            execution_timeout=timedelta(seconds=30),
        )
        return report

    async with book_sweeper(client, books(client, store, Archiving(tmp_path, 30))):
        first, second = await run("first"), await run("second")
    assert (first.rows, first.incidents) == (9, 3)
    assert second == ArchiveReport()
    (name,) = first.archives
    assert set(read_archive(tmp_path / name).chains) == set(chains)
    (told,) = [e for e in await store.events("platform") if e.type is AuditType.ARCHIVED]
    assert told.actor == "cortexops"
    assert await store.events(young.id) and (await store.examine()).faults == []


async def test_what_is_younger_stays(client: Client, store: PostgresStore, tmp_path: Path) -> None:
    await a_past(store)
    assert await books(client, store, Archiving(tmp_path, 45)).archive() == ArchiveReport()
    assert await books(client, store, Archiving(tmp_path, 0)).archive() == ArchiveReport()
    assert await books(client, store, None).archive() == ArchiveReport()
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_is_missing_is_not_made_and_nothing_is_moved(
    client: Client, store: PostgresStore, tmp_path: Path
) -> None:
    chains = await a_past(store)
    with pytest.raises(PermanentError, match="no folder"):
        await books(client, store, Archiving(tmp_path / "gone", 30)).archive()
    assert not (tmp_path / "gone").exists()
    assert len(await store.events(chains[0])) == 3
