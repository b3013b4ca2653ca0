"""Who is on call hears of an incident whose automation ended before it did: through the books, once, at the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from activities.delivery import Delivery
from activities.notifiers.pagerduty import PagerDutyNotifier
from activities.sweeping import BookSweeping
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.sweeping import Orphan
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.incident import Incident, Reason
from cortexops.domain.sweep import RunState
from cortexops.settings_pagerduty import PagerDutySettings
from tests.remediation.support import Stage
from tests.support.engines import Database
from tests.support.pagerduty import ROUTING_KEY, FakePagerDuty, fake_pagerduty
from tests.sweep.play import Play


@pytest.fixture
async def pagerduty() -> AsyncIterator[FakePagerDuty]:
    async with fake_pagerduty() as fake:
        yield fake


@pytest.fixture
async def books(migrated_database: Database) -> AsyncIterator[PostgresStore]:
    """The store of a worker that has the channel in its settings."""
    store = await PostgresStore.connect(migrated_database.dsn, notifiers=["pagerduty"], pool_size=3)
    yield store
    await store.close()


async def delivered(store: PostgresStore, pagerduty: FakePagerDuty) -> None:
    """Everything that waits is sent."""
    settings = PagerDutySettings(routing_key=SecretStr(ROUTING_KEY), api_url=pagerduty.url)
    notifier = PagerDutyNotifier(settings, url="http://console.test:8090")
    outbox = Delivery(store, {"pagerduty": notifier}, idle_seconds=0.02)
    await outbox.start()
    try:
        async with asyncio.timeout(10):
            while await _waiting(store):
                await asyncio.sleep(0.02)
    finally:
        await outbox.stop()
        await notifier.close()


async def _waiting(store: PostgresStore) -> bool:
    """The books of the fixtures have other channels, whose messages nobody takes."""
    ask = "SELECT count(*) FROM outbox WHERE state = 'waiting' AND notifier = 'pagerduty'"
    async with store._database.begin() as connection:
        return bool((await connection.exec_driver_sql(ask)).scalar())


async def test_a_terminated_workflow_that_left_a_change_pages_once_at_the_highest_urgency(
    play: Play, books: PostgresStore, pagerduty: FakePagerDuty
) -> None:
    play.store = books
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    await play.terminate_raw()
    for _ in range(2):
        await play.sweep()
    await delivered(books, pagerduty)
    incident = await play.incident()
    (page,) = [one for one in pagerduty.events if one["dedup_key"] == f"cortexops/{incident.id}"]
    assert page["event_action"] == "trigger"
    assert (page["payload"]["severity"], page["payload"]["class"]) == ("critical", "automation ended")
    assert page["payload"]["custom_details"]["reason"] == Reason.WORKFLOW_TERMINATED
    assert "was terminated while it was VERIFYING" in page["payload"]["summary"]
    assert "kubectl" in page["payload"]["custom_details"]["text"]


async def closed(books: PostgresStore, incident: Incident, run: RunState, **more: Any) -> None:
    """What every sweeper that finds it does."""
    orphan = Orphan(incident_id=incident.id, run=run, quiet=True, rows=0)
    await BookSweeping(books, None, grace=timedelta(0)).close(orphan, **more)  # type: ignore[arg-type]


async def test_without_a_change_the_urgency_is_the_incidents(
    stage: Stage, books: PostgresStore, pagerduty: FakePagerDuty
) -> None:
    incident = await books.incident(stage.incident)
    assert incident is not None
    for _ in range(2):
        await closed(books, incident, RunState.GONE)
    await delivered(books, pagerduty)
    (page,) = pagerduty.events
    assert page["payload"]["severity"] == "error"  # high
    assert page["payload"]["custom_details"]["reason"] == Reason.WORKFLOW_GONE
    assert pagerduty.alerts == {f"cortexops/{incident.id}": "triggered"}


async def test_who_terminated_an_incident_is_not_woken_for_it(
    stage: Stage, books: PostgresStore, pagerduty: FakePagerDuty
) -> None:
    incident = await books.incident(stage.incident)
    assert incident is not None
    by = AuditEntry(
        chain=incident.id,
        type=AuditType.TERMINATED,
        reason=Reason.TERMINATED,
        detail="we do it by hand",
        actor="ana",
        at=incident.updated_at,
        idempotency_key="ana",
    )
    await closed(books, incident, RunState.TERMINATED, by=by)
    await delivered(books, pagerduty)
    assert pagerduty.events == []
