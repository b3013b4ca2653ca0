"""Stops, levels and limits through the real workflow and the real books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.incident import LOOK_AGAIN
from cortexops.domain.audit import AuditType
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.limits import Phase, RemediationLimits
from cortexops.domain.policy import Effect
from tests.autonomy.support import a_note, a_stop, ended
from tests.console.real_workflow import begun, connected, real_workers
from tests.support.engines import RunningEngines
from tests.support.postgres import as_owner, opened
from tests.support.story import a_decision


@pytest.fixture
async def temporal(engines: RunningEngines) -> Client:
    return await connected(engines.temporal_address)


@pytest.fixture
async def queue(temporal: Client, store: PostgresStore, task_queue_prefix: str) -> AsyncIterator[str]:
    async with real_workers(temporal, store, task_queue_prefix, a_decision(Effect.ALLOW)) as name:
        yield name


async def held(store: PostgresStore, but: set[str]) -> Incident:
    async with asyncio.timeout(20):
        while True:
            for incident in await store.incidents(open_only=True):
                if incident.id not in but and incident.held_until is not None:
                    return incident
            await asyncio.sleep(0.05)


async def test_a_stop_ends_the_incident_denied_with_who_and_why(
    queue: str, temporal: Client, store: PostgresStore
) -> None:
    await store.add_stop(a_stop(), a_note())
    running = await begun(temporal, queue, namespace=queue)
    async with asyncio.timeout(30):
        incident = await running.result()
    assert incident.state is IncidentState.DENIED
    events = await store.events(incident.id)
    assert any("kill_switch" in e.detail and "by ana: game day" in e.detail for e in events)
    violations = [e for e in events if e.type is AuditType.POLICY_VIOLATION]
    assert [e.reason for e in violations] == ["kill_switch"]


async def test_a_denial_is_a_row_of_violations_and_nothing_follows(
    queue: str, temporal: Client, store: PostgresStore, migrated_database: object
) -> None:
    await store.add_stop(a_stop(), a_note())
    running = await begun(temporal, queue, namespace=queue)
    async with asyncio.timeout(30):
        incident = await running.result()
    rows = await as_owner(migrated_database, "SELECT chain, rule FROM policy_violations")  # type: ignore[arg-type]
    assert rows == [(incident.id, "kill_switch")]
    assert incident.attempts == 0
    assert await store.rows_of(incident.id) == []


async def test_an_incident_waits_for_its_turn_and_goes_on(
    queue: str, temporal: Client, store: PostgresStore
) -> None:
    others = [await opened(store, f"other-{number}") for number in range(3)]
    for other in others:
        found = await store.admit(other.id, f"target-{other.id}", Phase.RUNNING, RemediationLimits())
        assert found.reason == ""
    running = await begun(temporal, queue, namespace=queue)
    waiting = await held(store, {other.id for other in others})
    assert waiting.state is IncidentState.POLICY_CHECK
    assert "limits: too_many_remediations: 3 of 3 remediations run" in waiting.held_by
    await running.signal(LOOK_AGAIN)  # too early: it is still not its turn
    await ended(store, others[0])
    async with asyncio.timeout(40):
        while (await store.incident(waiting.id)).state is IncidentState.POLICY_CHECK:  # type: ignore[union-attr]
            await running.signal(LOOK_AGAIN)
            await asyncio.sleep(0.3)
        incident = await running.result()
    assert incident.state is IncidentState.RESOLVED
    reasons = [e.reason for e in await store.events(incident.id)]
    assert Reason.TURN_CAME in reasons
    assert Reason.SILENCE_OVER not in reasons
