"""Slack's requests at the wire: forged, old, replayed, of strangers; by HTTP and by Socket Mode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from console.slack_socket import SlackSocket
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import Decision
from tests.approvals.scene import slack_settings
from tests.console.support import World
from tests.support.case import DIGEST, open_case
from tests.support.slack import APP_TOKEN, FakeSlack, filled, posted, pressed, signed

URL = "/slack/interactions"


@pytest.fixture
def office(store: PostgresStore, slack: FakeSlack) -> World:
    return World(store, slack=slack_settings(slack))


@pytest.fixture
async def socket(office: World, slack: FakeSlack) -> AsyncIterator[SlackSocket]:
    running = SlackSocket(office.app.state.buttons, office.settings.slack, ping_seconds=0.2, patience=2)
    await running.start()
    await slack.connected()
    yield running
    await running.stop()


async def button(office: World, decision: str = "approve") -> tuple[str, str]:
    incident = await open_case(office.store)
    value = json.dumps({"approval": f"{incident.id}-approval-1", "digest": DIGEST})
    return f"cortexops_{decision}", value


async def post(office: World, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    async with office.client() as client:
        answer = await client.post(URL, content=body, headers=headers)
    return answer.status_code, json.loads(answer.content or "{}")


async def why(office: World) -> list[tuple[str, str]]:
    events = await office.store.events("platform")
    return [(str(e.data["via"]), e.reason) for e in events if e.type == "request_refused"]


async def form(office: World, slack: FakeSlack, user: str, decision: str = "approve") -> dict[str, Any]:
    body = posted(pressed(user, *await button(office, decision)))
    assert (await post(office, body, signed(body, office.clock().timestamp())))[0] == 200
    view = slack.of("views.open")[-1]["view"]
    opened: dict[str, Any] = json.loads(view) if isinstance(view, str) else view
    return opened


async def test_a_replayed_submission_is_refused_and_one_vote(office: World, slack: FakeSlack) -> None:
    body = posted(filled("U0ANA", await form(office, slack, "U0ANA"), "seen"))
    headers = signed(body, office.clock().timestamp())
    assert (await post(office, body, headers))[0] == 200
    for seconds in (0, 10, 280):
        office.clock.advance(seconds=seconds)
        status, answer = await post(office, body, headers)
        assert (status, "received before" in answer["error"]) == (403, True)
    office.clock.advance(seconds=20)
    assert (await post(office, body, headers))[0] == 403
    assert len(office.votes.counted) == 1
    assert set(await why(office)) == {("slack", "replayed"), ("slack", "outside_replay_window")}


async def test_forged_and_stale_submissions_count_nothing_and_are_in_the_trail(
    office: World, slack: FakeSlack
) -> None:
    body = posted(filled("U0ANA", await form(office, slack, "U0ANA"), "seen"))
    now = office.clock().timestamp()
    for headers in (signed(body, now, secret="guess"), signed(body, now - 301), signed(body + b" ", now)):
        assert (await post(office, body, headers))[0] == 403
    assert office.votes.counted == []
    assert await why(office) == [("slack", "forged_signature"), ("slack", "outside_replay_window")]


@pytest.mark.parametrize(
    ("more", "reason"), [({"team": "T0OTHER"}, "wrong_workspace"), ({"app": "A0OTHER"}, "wrong_app")]
)
async def test_another_workspace_or_app_is_refused(
    office: World, slack: FakeSlack, more: dict[str, str], reason: str
) -> None:
    body = posted(pressed("U0ANA", *await button(office), **more))
    assert (await post(office, body, signed(body, office.clock().timestamp())))[0] == 403
    assert slack.calls == []
    assert await why(office) == [("slack", reason)]


async def test_a_form_counts_only_for_whoever_opened_it(office: World, slack: FakeSlack) -> None:
    body = posted(filled("U0BO", await form(office, slack, "U0ANA"), "seen"))
    status, answer = await post(office, body, signed(body, office.clock().timestamp()))
    assert status == 200
    assert "somebody else" in json.dumps(answer)
    assert office.votes.counted == []
    assert await why(office) == [("slack", "form_of_somebody_else")]


async def test_a_change_that_changes_while_the_form_is_open_is_void(office: World, slack: FakeSlack) -> None:
    view = await form(office, slack, "U0ANA")
    asked = json.loads(view["private_metadata"])
    assert (asked["digest"], asked["decision"]) == (DIGEST, "approve")
    view["private_metadata"] = json.dumps({**asked, "digest": "0" * 64})
    body = posted(filled("U0ANA", view, "seen"))
    _, answer = await post(office, body, signed(body, office.clock().timestamp()))
    assert "Void: the change has changed" in json.dumps(answer)
    assert office.votes.counted == []


@pytest.mark.parametrize("metadata", ["", "{}", "[]", "null", '{"approval": 1}', "x" * 3000, '{"a":' * 500])
async def test_a_form_that_is_not_ours_counts_nothing(office: World, slack: FakeSlack, metadata: str) -> None:
    view = {**await form(office, slack, "U0ANA"), "private_metadata": metadata}
    body = posted(filled("U0ANA", view, "seen"))
    status, answer = await post(office, body, signed(body, office.clock().timestamp()))
    assert status == 200
    assert "not one of this console" in json.dumps(answer)
    assert office.votes.counted == []


async def test_when_slack_opens_no_form_the_person_is_told_how_else(office: World, slack: FakeSlack) -> None:
    slack.failures = ["expired_trigger_id"]
    body = posted(pressed("U0ANA", *await button(office)))
    assert (await post(office, body, signed(body, office.clock().timestamp())))[0] == 200
    told = slack.of("chat.postEphemeral")[0]["text"]
    assert "did not open" in told
    assert "cortexops approvals approve INC-" in told
    assert office.votes.counted == []


async def test_secrets_and_markup_of_the_change_are_not_in_the_form(office: World, slack: FakeSlack) -> None:
    secret = "postgres://orders:s3cret-Passw0rd@db/orders"
    diff = (
        {"path": "/data/url", "before": secret, "after": "<!channel>"},
        {"path": "/data/DB_PASSWORD", "before": "correct horse", "after": "battery"},
        *({"path": f"/data/k{n}", "before": "x" * 300, "after": "y" * 300} for n in range(60)),
    )
    incident = await open_case(office.store, request={"diff": diff, "action": f"set {secret}"})
    value = json.dumps({"approval": f"{incident.id}-approval-1", "digest": DIGEST})
    body = posted(pressed("U0ANA", "cortexops_deny", value))
    await post(office, body, signed(body, office.clock().timestamp()))
    view = slack.of("views.open")[-1]["view"]
    text = view if isinstance(view, str) else json.dumps(view)
    for part in ("s3cret-Passw0rd", "correct horse", "battery"):
        assert part not in text
    assert (
        "cut: the console shows all of it"
        in json.loads(text)["blocks"][1]["elements"][0]["elements"][0]["text"]
    )
    assert '"mrkdwn"' not in text


async def test_the_socket_does_what_http_does(office: World, slack: FakeSlack, socket: SlackSocket) -> None:
    action, value = await button(office, "take_over")
    await slack.deliver("e1", pressed("U0VI", action, value))
    (opened,) = slack.of("views.open")
    missing = await slack.deliver("e2", filled("U0VI", opened["view"], ""))
    assert missing["payload"]["response_action"] == "errors"
    assert office.votes.counted == []
    done = await slack.deliver("e3", filled("U0VI", opened["view"], "I look at the node"))
    assert "counts: take over" in json.dumps(done)
    assert [(v.person.id, v.person.via, v.decision, v.reason) for v in office.votes.counted] == [
        ("vi", "slack", Decision.TAKE_OVER, "I look at the node")
    ]
    assert socket.health() is None
    assert [c.token for c in slack.calls if c.method == "apps.connections.open"] == [APP_TOKEN]


async def test_a_redelivered_or_foreign_envelope_is_acknowledged_and_not_handled(
    office: World, slack: FakeSlack, socket: SlackSocket
) -> None:
    action, value = await button(office)
    for _ in range(3):
        await slack.deliver("same", pressed("U0ANA", action, value))
    assert len(slack.of("views.open")) == 1
    await slack.deliver("other", pressed("U0ANA", action, value, team="T0OTHER"))
    await slack.deliver(
        "odd", {"type": "block_actions", "team": {"id": "T0CORTEX"}, "api_app_id": "A0CORTEX"}
    )
    assert len(slack.of("views.open")) == 1
    assert set(await why(office)) >= {("slack_socket", "replayed"), ("slack_socket", "wrong_workspace")}


@pytest.mark.parametrize("how", ["asked", "cut"])
async def test_a_lost_socket_is_made_anew(
    office: World, slack: FakeSlack, socket: SlackSocket, how: str
) -> None:
    action, value = await button(office)
    if how == "asked":
        await slack.sockets[-1].send_json({"type": "disconnect", "reason": "refresh_requested"})
    else:
        await slack.sockets[-1].close()
    await slack.connected(2)
    await slack.deliver("after", pressed("U0ANA", action, value))
    assert len(slack.of("views.open")) == 1


async def test_a_slack_that_refuses_the_token_is_said_and_tried_again(
    office: World, slack: FakeSlack
) -> None:
    wrong = office.settings.slack.model_copy(update={"app_token": SecretStr("xapp-wrong")})
    running = SlackSocket(office.app.state.buttons, wrong, ping_seconds=0.1, patience=0.3)
    await running.start()
    async with asyncio.timeout(10):
        while running.health() is None or len(slack.of("apps.connections.open")) < 3:
            await asyncio.sleep(0.05)
    await running.stop()
    assert slack.sockets == []
