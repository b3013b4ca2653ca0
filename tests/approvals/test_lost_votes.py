"""A vote that is in the books, but lost to the workflow when Temporal was started anew between the two."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import Decision, Person, Vote
from cortexops.domain.audit import AuditType
from cortexops.domain.incident import IncidentState
from tests.approvals.scene import Scene, waiting
from tests.support.case import entry
from tests.support.engines import RunningEngines
from tests.support.slack import FakeSlack


async def lose(scene: Scene, who: str, decision: Decision) -> None:
    """Store the vote as `record_vote` does; the workflow hears nothing of it."""
    asked = scene.request
    person = Person(id=who, name=who.title(), roles=("oncall",), via="token")
    vote = Vote(approval_id=asked.id, person=person, decision=decision, digest=asked.digest, reason="no")
    noted = entry(asked.incident_id, AuditType.APPROVAL_VOTE, 94, decision, actor=who)
    await scene.store.record_vote(vote, noted)


@pytest.mark.parametrize("channel", ["rest", "slack"])
async def test_whoever_denies_again_stops_it(
    engines: RunningEngines, temporal: Client, store: PostgresStore, slack: FakeSlack,
    task_queue_prefix: str, tmp_path: Path, channel: str,
) -> None:  # fmt: skip
    async with waiting(engines, temporal, store, slack, task_queue_prefix, tmp_path) as scene:
        await lose(scene, "ana", Decision.DENY)
        assert await scene.answer(channel, "ana", "deny") == "already_voted"
        async with asyncio.timeout(20):
            ended = await scene.handle.result()
        assert (ended.state, ended.attempts) == (IncidentState.DENIED, 0)
        assert [who for who, _, _ in await scene.refusals()] == ["ana"]


async def test_somebody_elses_approval_does_not_overtake_it(
    engines: RunningEngines, temporal: Client, store: PostgresStore, slack: FakeSlack,
    task_queue_prefix: str, tmp_path: Path,
) -> None:  # fmt: skip
    async with waiting(engines, temporal, store, slack, task_queue_prefix, tmp_path, quorum=1) as scene:
        await lose(scene, "ana", Decision.DENY)
        assert await scene.answer("rest", "bo") == "not_pending"
        async with asyncio.timeout(20):
            ended = await scene.handle.result()
        assert (ended.state, ended.attempts) == (IncidentState.DENIED, 0)


async def test_an_approval_that_was_lost_counts_towards_the_quorum_when_it_is_given_again(
    engines: RunningEngines, temporal: Client, store: PostgresStore, slack: FakeSlack,
    task_queue_prefix: str, tmp_path: Path,
) -> None:  # fmt: skip
    async with waiting(engines, temporal, store, slack, task_queue_prefix, tmp_path) as scene:
        await lose(scene, "ana", Decision.APPROVE)
        for _ in range(2):
            assert await scene.answer("rest", "ana") == "already_voted"
        assert not await scene.applied()
        assert await scene.answer("rest", "bo") == "counted"
        async with asyncio.timeout(20):
            ended = await scene.handle.result()
        assert ended.state is IncidentState.RESOLVED
