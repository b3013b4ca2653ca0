"""A stop between approval and change, and between change and undo: nothing is sent, and it is said why."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.guarded import GuardedRemediation
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.audit import AuditType
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.limits import Phase, RemediationLimits
from tests.autonomy.support import a_note, a_stop, ended
from tests.remediation.support import Stage
from tests.support.engines import Database
from tests.support.postgres import as_owner, opened

NOW = datetime.now(UTC) - timedelta(minutes=1)


def guarded(stage: Stage, limits: RemediationLimits | None = None) -> Stage:
    stage.activities = GuardedRemediation({stage.admin.name: stage.writer}, stage.store, limits)
    return stage


async def stop(store: PostgresStore, number: int = 1, **scope: Any) -> None:
    await store.add_stop(a_stop(number, since=NOW, **scope), a_note())


async def test_a_stop_after_the_approval_means_that_nothing_is_changed(simulated: Stage) -> None:
    stage = guarded(simulated)
    before = await stage.deployment()
    order = await stage.order(stage.action("scale_workload", replicas=1))
    await stop(stage.store)
    result = await stage.apply(order)
    assert (result.outcome, "stopped: stop-1" in result.detail) == (ApplyOutcome.REFUSED, True)
    assert "by ana: game day" in result.detail
    assert await stage.live() == before
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.REFUSED
    assert [e.type for e in await stage.trail()][-1] is AuditType.ACTION_REFUSED
    await stage.store.resume_stop("stop-1", "ana", datetime.now(UTC), a_note())
    assert await stage.apply(order) == result  # said once; another attempt is another decision
    assert await stage.live() == before


@pytest.mark.parametrize(
    ("scope", "stops"),
    [
        ({"action": "scale_workload"}, True),
        ({"action": "delete_pod"}, False),
        ({"namespace": "elsewhere"}, False),
    ],
)
async def test_only_what_the_stop_covers_is_stopped(
    simulated: Stage, scope: dict[str, Any], stops: bool
) -> None:
    stage = guarded(simulated)
    await stage.deployment()
    order = await stage.order(stage.action("scale_workload", replicas=1))
    await stop(stage.store, **scope)
    result = await stage.apply(order)
    assert result.outcome is (ApplyOutcome.REFUSED if stops else ApplyOutcome.APPLIED)


async def test_a_stop_before_the_undo_leaves_the_change_and_tells_how_to_undo_it_by_hand(
    simulated: Stage,
) -> None:
    stage = guarded(simulated)
    await stage.deployment()
    applied = await stage.apply(await stage.order(stage.action("scale_workload", replicas=1)))
    assert applied.outcome is ApplyOutcome.APPLIED
    await stop(stage.store, action="scale_workload")
    undone = await stage.compensate(applied.operation_id)
    assert (undone.done, "stopped: stop-1" in undone.detail) == (False, True)
    assert undone.commands
    assert (await stage.live())["spec"]["replicas"] == 1


async def test_stops_that_cannot_be_read_stop_the_change(
    simulated: Stage, migrated_database: Database
) -> None:
    stage = guarded(simulated)
    before = await stage.deployment()
    order = await stage.order(stage.action("scale_workload", replicas=1))
    await as_owner(migrated_database, "ALTER TABLE stops RENAME TO stops_away")
    result = await stage.apply(order)
    assert (result.outcome, "stops_unreadable" in result.detail) == (ApplyOutcome.REFUSED, True)
    assert await stage.live() == before


async def test_in_shadow_mode_no_writing_call_passes(simulated: Stage) -> None:
    stage = simulated
    stage.activities = GuardedRemediation({stage.admin.name: stage.writer}, stage.store, shadow=True)
    before = await stage.deployment()
    result = await stage.apply(await stage.order(stage.action("scale_workload", replicas=1)))
    assert (result.outcome, "shadow mode" in result.detail) == (ApplyOutcome.REFUSED, True)
    assert await stage.live() == before


async def test_an_approved_change_waits_for_its_turn_and_then_is_made(simulated: Stage) -> None:
    only = RemediationLimits(at_once=1)
    stage = guarded(simulated, only)
    await stage.deployment()
    order = await stage.order(stage.action("scale_workload", replicas=1))
    other = await opened(stage.store, "other")
    await stage.store.admit(other.id, "elsewhere", Phase.RUNNING, only)
    with pytest.raises(ApplicationError, match="too_many_remediations") as waiting:
        await stage.apply(order)
    assert not waiting.value.non_retryable
    assert await stage.store.rows_of(stage.incident) == []
    await ended(stage.store, other)
    assert (await stage.apply(order)).outcome is ApplyOutcome.APPLIED


async def test_a_change_after_the_time_of_its_incident_is_refused(simulated: Stage) -> None:
    short = RemediationLimits(incident_seconds=0.2)
    stage = guarded(simulated, short)
    await stage.deployment()
    action = stage.action("scale_workload", replicas=1)
    order = await stage.order(action)
    await stage.store.admit(stage.incident, action.target.key, Phase.ASKING, short)
    await asyncio.sleep(0.3)
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.REFUSED, Reason.LIMITED)
    assert "incident_time_exhausted" in result.detail
    assert (await stage.live())["spec"]["replicas"] == 0
