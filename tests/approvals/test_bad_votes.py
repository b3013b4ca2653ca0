"""What must not count, by every way in which people answer: nothing is applied, and the trail says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import ApprovalState
from cortexops.domain.incident import IncidentState, Reason
from tests.approvals.scene import CHANNELS, waiting
from tests.support.engines import RunningEngines
from tests.support.slack import FakeSlack

_VIA = {"slack": "slack", "socket": "slack", "rest": "token", "cli": "token"}


async def test_no_bad_answer_counts_by_any_way_and_each_is_in_the_trail(
    engines: RunningEngines, temporal: Client, store: PostgresStore, slack: FakeSlack,
    task_queue_prefix: str, tmp_path: Path,
) -> None:  # fmt: skip
    async with waiting(engines, temporal, store, slack, task_queue_prefix, tmp_path) as scene:
        expected = set()
        for channel in CHANNELS:
            assert await scene.answer(channel, "vi") == "wrong_role", channel
            assert await scene.answer(channel, "bo", digest="0" * 64) == "changed_diff", channel
            assert await scene.answer(channel, "bo", "deny", digest="0" * 64) == "changed_diff", channel
            assert await scene.answer(channel, "bo", approval="INC-20990101-001-approval-1") == (
                "no_such_approval"
            ), channel
            stranger = await scene.answer(channel, "nobody")
            assert stranger != "counted"
            assert any(word in stranger for word in ("not configured", "identity", "belongs to nobody")), (
                stranger
            )
            expected |= {("vi", _VIA[channel], "wrong_role"), ("bo", _VIA[channel], "changed_diff")}
        assert set(await scene.refusals()) == expected
        away = set(await scene.turned_away())
        assert away >= {("slack", "unknown_person"), ("slack_socket", "unknown_person")}
        assert away >= {("http", "unauthenticated"), ("cli", "unauthenticated")}
        record = await store.approval(scene.request.id)
        assert record is not None
        assert (record.state, record.votes) == (ApprovalState.PENDING, [])
        assert not await scene.applied()
        assert await scene.answer("rest", "vi", "deny") == "counted"  # anybody who is known may say no
        ended = await scene.handle.result()
        assert (ended.state, ended.attempts) == (IncidentState.DENIED, 0)


async def test_one_person_by_four_ways_is_one_of_two(
    engines: RunningEngines, temporal: Client, store: PostgresStore, slack: FakeSlack,
    task_queue_prefix: str, tmp_path: Path,
) -> None:  # fmt: skip
    async with waiting(engines, temporal, store, slack, task_queue_prefix, tmp_path) as scene:
        assert await scene.answer("rest", "ana") == "counted"
        for channel in CHANNELS:
            assert await scene.answer(channel, "ana") == "already_voted", channel
        assert set(await scene.refusals()) == {
            ("ana", "slack", "already_voted"), ("ana", "token", "already_voted"),
        }  # fmt: skip
        assert await scene.answer("rest", "ana", digest="0" * 64) == "changed_diff"
        record = await store.approval(scene.request.id)
        assert record is not None
        assert [(v.person.id, v.person.via) for v in record.votes] == [("ana", "token")]
        assert record.state is ApprovalState.PENDING
        assert not await scene.applied()
        assert await scene.answer("socket", "bo") == "counted"
        ended = await scene.handle.result()
        assert ended.state is IncidentState.RESOLVED
        for channel in CHANNELS:
            assert await scene.answer(channel, "bo", "deny") == "not_pending", channel


@pytest.mark.parametrize("channel", CHANNELS)
async def test_whoever_takes_over_stops_it_at_once(
    engines: RunningEngines, temporal: Client, store: PostgresStore, slack: FakeSlack,
    task_queue_prefix: str, tmp_path: Path, channel: str,
) -> None:  # fmt: skip
    async with waiting(engines, temporal, store, slack, task_queue_prefix, tmp_path) as scene:
        assert await scene.answer("rest", "ana") == "counted"
        assert await scene.answer(channel, "bo", "take-over") == "counted"
        ended = await scene.handle.result()
        assert (ended.state, ended.reason, ended.attempts) == (
            IncidentState.ESCALATED, Reason.TAKEN_OVER, 0,
        )  # fmt: skip
        record = await store.approval(scene.request.id)
        assert record is not None
        assert record.state is ApprovalState.TAKEN_OVER
        assert not await scene.applied()
        events = await store.events(ended.id)
        assert any(e.data.get("after") == "ESCALATED" and "Bo: take_over" in e.detail for e in events)
        assert await scene.answer("rest", "ana") == "already_voted"
        assert await scene.answer("rest", "ana", "deny") == "not_pending"


async def test_after_the_time_is_up_nothing_counts(
    engines: RunningEngines, temporal: Client, store: PostgresStore, slack: FakeSlack,
    task_queue_prefix: str, tmp_path: Path,
) -> None:  # fmt: skip
    async with waiting(engines, temporal, store, slack, task_queue_prefix, tmp_path, seconds=3) as scene:
        assert await scene.answer("rest", "ana") == "counted"
        async with asyncio.timeout(30):
            ended = await scene.handle.result()
        assert (ended.state, ended.attempts) == (IncidentState.EXPIRED, 0)
        for channel in CHANNELS:
            assert await scene.answer(channel, "bo") == "expired", channel
        assert {why for _, _, why in await scene.refusals()} == {"expired"}
        assert not await scene.applied()
