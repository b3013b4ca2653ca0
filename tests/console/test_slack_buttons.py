"""Slack's buttons: only what Slack signed just now, only for people who are configured."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from activities.notifiers._slack_text import approval as approval_message
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import Decision
from cortexops.domain.errors import TemporaryError
from tests.console.support import World
from tests.support.case import DIGEST, a_request, open_case
from tests.support.slack import (
    BOT_TOKEN,
    SIGNING_SECRET,
    FakeSlack,
    click,
    fake_slack,
    filled,
    posted,
    pressed,
    signed,
)

URL = "/slack/interactions"


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with fake_slack() as fake:
        yield fake


@pytest.fixture
async def office(store: PostgresStore, slack: FakeSlack) -> World:
    return World(
        store, slack={"bot_token": BOT_TOKEN, "signing_secret": SIGNING_SECRET, "api_url": slack.url}
    )


async def press(
    office: World,
    slack: FakeSlack,
    user: str,
    decision: Decision = Decision.APPROVE,
    *,
    digest: str = DIGEST,
    reason: str = "seen",
) -> dict[str, Any]:
    """Press the button and submit the form, if one opens. Returns what the form's submission is answered."""
    incident = await ask(office)
    value = json.dumps({"approval": f"{incident}-approval-1", "digest": digest})
    before = len(slack.of("views.open"))
    await send(office, pressed(user, f"cortexops_{decision.value}", value))
    opened = slack.of("views.open")[before:]
    return await send(office, filled(user, opened[0]["view"], reason)) if opened else {}


async def send(office: World, payload: dict[str, Any]) -> dict[str, Any]:
    body = posted(payload)
    async with office.client() as client:
        answer = await client.post(URL, content=body, headers=signed(body, office.clock().timestamp()))
    assert answer.status_code == 200, answer.text
    return json.loads(answer.content or "{}")  # type: ignore[no-any-return]


def result(answer: dict[str, Any]) -> str:
    """The text that replaces the form."""
    assert answer["response_action"] == "update"
    return str(answer["view"]["blocks"][0]["text"]["text"])


async def ask(office: World) -> str:
    known = await office.store.incidents()
    return known[0].id if known else (await open_case(office.store)).id


async def test_the_button_that_the_notifier_makes_is_the_button_that_the_console_counts(
    office: World, slack: FakeSlack
) -> None:
    incident = await ask(office)
    blocks = approval_message(a_request(incident), url="")["attachments"][0]["blocks"]
    buttons = next(block for block in blocks if block["type"] == "actions")["elements"]
    assert [button["text"]["text"] for button in buttons] == ["Approve", "Deny", "Take over"]
    await send(office, pressed("U0ANA", buttons[0]["action_id"], buttons[0]["value"]))
    (opened,) = slack.of("views.open")
    view = opened["view"] if isinstance(opened["view"], dict) else json.loads(opened["view"])
    assert (view["type"], view["title"]["text"], view["submit"]["text"]) == ("modal", "Approve", "Approve")
    assert "1Gi" in json.dumps(view["blocks"])
    assert opened["trigger_id"]
    assert office.votes.counted == []
    answer = await send(office, filled("U0ANA", view, " matches e4 "))
    assert [(v.person.id, v.person.via, v.decision, v.reason) for v in office.votes.counted] == [
        ("ana", "slack", Decision.APPROVE, "matches e4")
    ]
    assert "counts: approve" in result(answer)
    assert "approved, 1 of 1" in result(answer)


@pytest.mark.parametrize("decision", [Decision.DENY, Decision.TAKE_OVER])
async def test_take_over_and_deny_need_a_reason(office: World, slack: FakeSlack, decision: Decision) -> None:
    missing = await press(office, slack, "U0VI", decision, reason="  ")
    assert missing["response_action"] == "errors"
    assert "reason is needed" in missing["errors"]["reason"]
    assert office.votes.counted == []
    given = await press(office, slack, "U0VI", decision, reason="the node is on fire")
    assert [(v.decision, v.reason) for v in office.votes.counted] == [(decision, "the node is on fire")]
    assert "counts" in result(given)


async def test_forged_changed_old_and_unsigned_requests_count_nothing(
    office: World, slack: FakeSlack
) -> None:
    incident = await ask(office)
    body = click(
        "U0ANA", "cortexops_approve", json.dumps({"approval": f"{incident}-approval-1", "digest": DIGEST})
    )
    now = office.clock().timestamp()
    good = signed(body, now)
    bad = [
        signed(body, now, secret="guess"),
        signed(body + b"x", now),
        signed(body, now - 301),
        signed(body, now + 301),
        {**good, "x-slack-request-timestamp": "yesterday"},
        {**good, "x-slack-signature": "v0=\u00e9".encode().decode("latin-1")},
        {key: value for key, value in good.items() if key != "x-slack-signature"},
        {"authorization": "Bearer ana-token-for-tests", "content-type": "application/x-www-form-urlencoded"},
    ]
    async with office.client() as client:
        for headers in bad:
            encoded = {k.encode(): v.encode("latin-1") for k, v in headers.items()}
            answer = await client.post(URL, content=body, headers=encoded)
            assert answer.status_code == 403, headers
        assert (
            await client.post(URL, content=b"\xff\xfe", headers=signed(b"\xff\xfe", now))
        ).status_code in (403, 422)
        for nonsense in (b"payload=7", b"payload={", b"x=1", urlencode({"payload": "[" * 5000}).encode()):
            assert (
                await client.post(URL, content=nonsense, headers=signed(nonsense, now))
            ).status_code == 422
    assert office.votes.counted == []
    assert slack.calls == []


async def test_a_user_id_changed_under_the_signature_is_refused(office: World) -> None:
    incident = await ask(office)
    value = json.dumps({"approval": f"{incident}-approval-1", "digest": DIGEST})
    body = click("U0VI", "cortexops_approve", value)
    headers = signed(body, office.clock().timestamp())
    async with office.client() as client:
        answer = await client.post(URL, content=body.replace(b"U0VI", b"U0ANA"), headers=headers)
    assert answer.status_code == 403
    assert parse_qs(body.decode())["payload"]


async def test_an_unknown_slack_user_is_told_so_and_counts_nothing(office: World, slack: FakeSlack) -> None:
    assert await press(office, slack, "U0STRANGER") == {}
    assert office.votes.counted == []
    assert slack.of("views.open") == []
    told = slack.of("chat.postEphemeral")[0]
    assert (told["user"], told["channel"], told["thread_ts"]) == ("U0STRANGER", "C0INCIDENTS", "1.0")
    assert "U0STRANGER is not configured" in told["text"]
    assert "slack_user_id" in told["text"]


async def test_the_refusal_and_its_reason_are_shown_to_the_clicker(office: World, slack: FakeSlack) -> None:
    await press(office, slack, "U0VI")
    await press(office, slack, "U0ANA", digest="0" * 64)
    office.votes.failure = TemporaryError("the workflow is away", delay=timedelta(seconds=1))
    assert "not confirmed: the workflow is away" in result(await press(office, slack, "U0BO"))
    office.clock.advance(minutes=30)
    await press(office, slack, "U0ANA")
    texts = [told["text"] for told in slack.of("chat.postEphemeral")]
    assert "none of the roles" in texts[0]
    assert "the change has changed" in texts[1]
    assert "has expired" in texts[2]
    assert office.votes.counted == []


async def test_slack_is_answered_in_time_though_its_own_api_hangs(office: World, slack: FakeSlack) -> None:
    incident = await ask(office)
    value = json.dumps({"approval": f"{incident}-approval-1", "digest": DIGEST})
    slack.hang_seconds = 2.3
    async with office.app.router.lifespan_context(office.app):
        started = time.monotonic()
        await send(office, pressed("U0ANA", "cortexops_approve", value))
        assert time.monotonic() - started < 3
    assert len(slack.of("views.open")) == 1


async def test_without_a_signing_secret_nothing_is_accepted(store: PostgresStore) -> None:
    office = World(store)
    body = click("U0ANA", "cortexops_approve", "{}")
    async with office.client() as client:
        answer = await client.post(
            URL, content=body, headers=signed(body, office.clock().timestamp(), secret="x")
        )
    assert answer.status_code == 403
