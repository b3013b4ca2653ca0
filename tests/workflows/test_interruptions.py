"""Absorbed by a better cause, held by a silence, flapping: what an incident does then, and what it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from cortexops.contracts.incident import ABSORB, ADD_SIGNALS, LOOK_AGAIN, Absorption, SignalBatch
from cortexops.contracts.records import Hold
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.links import LinkReason
from cortexops.domain.message import MessageKind
from cortexops.domain.policy import Effect
from cortexops.domain.resource import ResourceRef
from cortexops.domain.verification import Phase
from tests.support.engines import RunningEngines
from tests.support.stage import Stage, staged
from tests.support.story import a_decision, a_signal, resolved

_S = IncidentState
NODE = Absorption(into_key="incident:test::Node:n1", into_id="INC-1", reason=LinkReason.SAME_NODE)
Handle = WorkflowHandle[Any, Any]


@pytest.fixture
async def stage(engines: RunningEngines, task_queue_prefix: str) -> AsyncIterator[Stage]:
    async with staged(engines.temporal_address, task_queue_prefix) as stage:
        yield stage


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_an_absorbed_investigation_is_not_waited_for(stage: Stage) -> None:
    stage.world.gates["investigate"] = asyncio.Event()
    handle = await stage.begin()
    await until(lambda: "investigate" in stage.world.calls)
    await handle.signal(ABSORB, NODE)
    ended = await handle.result()
    assert (ended.state, ended.reason, ended.merged_into) == (_S.MERGED, Reason.MERGED_INTO, NODE.into_key)
    assert "decide" not in stage.world.calls
    link = stage.world.entries[-1].data["link"]
    assert (link["into_key"], link["into_id"], link["reason"]) == (NODE.into_key, "INC-1", "same_node")
    stage.world.gates["investigate"].set()


async def test_an_absorbed_incident_withdraws_its_request_for_approval(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin()
    await stage.asked(handle)
    await handle.signal(ABSORB, NODE)
    ended = await handle.result()
    assert ended.state is _S.MERGED
    assert [settled.state for settled in stage.world.settled] == ["void"]
    assert stage.world.applied == []


async def test_what_was_begun_is_finished_and_counts(stage: Stage) -> None:
    stage.world.gates["verify"] = asyncio.Event()
    handle = await stage.begin()
    await until(lambda: "verify" in stage.world.calls)
    await handle.signal(ABSORB, NODE)
    stage.world.gates["verify"].set()
    assert (await handle.result()).state is _S.RESOLVED


async def test_after_an_undo_an_absorbed_incident_tries_nothing_more(stage: Stage) -> None:
    stage.world.gates["verify"] = asyncio.Event()
    stage.world.verifications = [Phase.FAILED]
    handle = await stage.begin()
    await until(lambda: "verify" in stage.world.calls)
    await handle.signal(ABSORB, NODE)
    stage.world.gates["verify"].set()
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.ROLLED_BACK, Reason.MERGED_INTO)
    assert stage.world.calls.count("apply") == 1


async def test_linked_objects_are_kept_once_each_and_in_order(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin()
    await stage.asked(handle)
    apps = [
        ResourceRef(cluster="test", kind="Deployment", namespace="a", name=f"app{n:03}") for n in range(250)
    ]
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(), linked=tuple(apps[100:])))
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(resolved(a_signal()),), linked=tuple(apps[:120])))
    ended = await handle.result()
    assert ended.state is _S.RESOLVED
    assert len(ended.linked) == 200
    assert list(ended.linked) == sorted(ended.linked, key=lambda one: one.key)


async def test_a_silenced_incident_waits_and_then_goes_its_way(stage: Stage) -> None:
    stage.world.born = {"held_until": soon(1.2)}
    handle = await stage.begin()
    await asyncio.sleep(0.6)
    assert stage.world.calls == ["open_incident"]
    ended = await handle.result()
    assert ended.state is _S.RESOLVED
    assert ended.held_until is None
    assert stage.world.calls[:3] == ["open_incident", "reassess", "investigate"]
    assert [order.message.kind for order in stage.world.freed] == [MessageKind.DETECTED]
    assert Reason.HELD in stage.world.reasons


async def test_what_ends_while_it_is_silenced_ends_quietly(stage: Stage) -> None:
    stage.world.born = {"held_until": soon(3600)}
    handle = await stage.begin()
    await until(lambda: Reason.HELD in stage.world.reasons)
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(resolved(a_signal()),)))
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.SUPPRESSED, Reason.SILENCED)
    assert "investigate" not in stage.world.calls
    assert ended.held_until is None
    assert stage.world.told == []


async def test_an_incident_cannot_be_part_of_itself(stage: Stage) -> None:
    stage.world.gates["investigate"] = asyncio.Event()
    handle = await stage.begin()
    await until(lambda: "investigate" in stage.world.calls)
    await handle.signal(ABSORB, Absorption(into_key=handle.id, reason=LinkReason.SAME_NODE))
    stage.world.gates["investigate"].set()
    assert (await handle.result()).state is _S.RESOLVED


async def test_a_lifted_silence_and_one_that_was_prolonged_are_noticed(stage: Stage) -> None:
    stage.world.born = {"held_until": soon(3600)}
    stage.world.holds = [Hold(until=soon(3600), by="another one"), Hold()]
    handle = await stage.begin()
    await until(lambda: stage.world.reasons.count(Reason.HELD) == 1)
    await handle.signal(LOOK_AGAIN)
    await until(lambda: stage.world.reasons.count(Reason.HELD) == 2)
    assert "investigate" not in stage.world.calls
    await handle.signal(LOOK_AGAIN)
    assert (await handle.result()).state is _S.RESOLVED


async def test_a_silenced_incident_can_be_absorbed(stage: Stage) -> None:
    stage.world.born = {"held_until": soon(3600)}
    handle = await stage.begin()
    await until(lambda: Reason.HELD in stage.world.reasons)
    await handle.signal(ABSORB, NODE)
    assert (await handle.result()).state is _S.MERGED


async def test_a_silence_that_comes_later_holds_the_remedy_and_costs_no_attempt(stage: Stage) -> None:
    held = a_decision(Effect.ALLOW, held_until=soon(1.1))
    stage.world.decisions = [held, a_decision(Effect.ALLOW)]
    handle = await stage.begin()
    ended = await handle.result()
    assert (ended.state, ended.attempts) == (_S.RESOLVED, 1)
    assert stage.world.calls == [
        "open_incident", "investigate", "decide", "reassess", "investigate", "decide", "dry_run", "apply", "verify",
    ]  # fmt: skip
    assert stage.world.freed[0].message.kind is MessageKind.PROGRESS


async def test_a_flapping_incident_is_looked_into_and_not_acted_upon(stage: Stage) -> None:
    stage.world.born = {"flapping": True}
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.FLAPPING)
    assert stage.world.calls == ["open_incident", "investigate"]


async def test_an_alert_that_ended_three_times_is_flapping(stage: Stage) -> None:
    stage.world.gates["investigate"] = asyncio.Event()
    handle = await stage.begin()
    await until(lambda: "investigate" in stage.world.calls)
    now = datetime.now(UTC)
    for minutes in (30, 20, 10):
        firing = a_signal(started_at=now - timedelta(minutes=minutes + 5))
        over = resolved(firing).model_copy(update={"ended_at": now - timedelta(minutes=minutes)})
        await handle.signal(ADD_SIGNALS, SignalBatch(signals=(firing, over)))
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(a_signal(started_at=now),)))
    stage.world.gates["investigate"].set()
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.FLAPPING)
