"""Whoever proposed a change cannot approve it, by whichever way; they may still stop it."""

from __future__ import annotations

import json

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import Decision
from tests.approvals.scene import slack_settings
from tests.console.support import ANA, BO, World
from tests.support.case import DIGEST, open_case
from tests.support.slack import FakeSlack, posted, pressed, signed


@pytest.fixture
def office(store: PostgresStore, slack: FakeSlack) -> World:
    return World(store, slack=slack_settings(slack))


async def test_the_proposer_may_not_approve_and_may_stop(office: World, slack: FakeSlack) -> None:
    incident = await open_case(office.store, request={"proposed_by": "ana", "quorum": 2})
    approval = f"{incident.id}-approval-1"
    body = {"reason": "mine", "digest": DIGEST}
    async with office.client() as client:
        refused = await client.post(f"/api/v1/approvals/{approval}/approve", json=body, headers=ANA)
        assert (refused.status_code, refused.json()["refusal"]) == (403, "proposer_may_not_approve")
        press = posted(
            pressed("U0ANA", "cortexops_approve", json.dumps({"approval": approval, "digest": DIGEST}))
        )
        await client.post(
            "/slack/interactions", content=press, headers=signed(press, office.clock().timestamp())
        )
        assert "cannot approve it" in slack.of("chat.postEphemeral")[0]["text"]
        assert slack.of("views.open") == []
        assert (
            await client.post(f"/api/v1/approvals/{approval}/approve", json=body, headers=BO)
        ).status_code == 200
        stopped = await client.post(f"/api/v1/approvals/{approval}/take-over", json=body, headers=ANA)
        assert (stopped.status_code, stopped.json()["state"]) == (200, "taken_over")
    assert [(v.person.id, v.decision) for v in office.votes.counted] == [
        ("bo", Decision.APPROVE), ("ana", Decision.TAKE_OVER),
    ]  # fmt: skip
    refusals = [e for e in await office.store.events(incident.id) if e.type == "vote_refused"]
    assert [(e.actor, e.reason) for e in refusals] == [("ana", "proposer_may_not_approve")]
