"""The Slack notifier against a fake Slack at the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from activities.notifiers import NOTIFIERS, build_notifiers
from activities.notifiers import slack as module
from activities.notifiers._slack_text import escape, shorten
from activities.notifiers.slack import SlackNotifier
from cortexops.domain.change import DiffLine
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.message import Delivered, Delivery, MessageKind
from cortexops.settings import Settings, SlackSettings
from tests.support.case import a_request, an_incident, tell
from tests.support.slack import BOT_TOKEN, FakeSlack, fake_slack

_K = MessageKind


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with fake_slack() as fake:
        yield fake


@pytest.fixture
async def notifier(slack: FakeSlack) -> AsyncIterator[SlackNotifier]:
    settings = SlackSettings(bot_token=SecretStr(BOT_TOKEN), channel="#incidents", api_url=slack.url)
    made = SlackNotifier(settings, url="http://console.test:8090")
    yield made
    await made.close()


def incident(state: IncidentState = IncidentState.DETECTED, **changes: Any) -> Incident:
    return an_incident(id="INC-20260314-001", state=state, **changes)


async def send(notifier: SlackNotifier, thread: str, *args: Any, **more: Any) -> str:
    answer = await notifier.send(tell(*args, **more), thread)
    assert answer.result is Delivery.SENT, answer
    return answer.reference


def everything(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False)


async def test_an_incident_is_one_thread_whose_head_says_how_it_is_now(
    notifier: SlackNotifier, slack: FakeSlack
) -> None:
    thread = await send(notifier, "", incident(), _K.DETECTED, "14 signals since 02:40:12", 0)
    assert "payment-service is OOM-killed" in slack.head["text"]
    assert "detected" in everything(slack.head)
    red = slack.head["attachments"][0]["color"]
    found = incident(IncidentState.POLICY_CHECK)
    thread = await send(notifier, thread, found, _K.DIAGNOSED, "Root cause (0.93): limit too low\n• e1", 12)
    assert "Root cause (0.93): limit too low" in everything(slack.head)
    thread = await send(notifier, thread, incident(IncidentState.VERIFYING), _K.PROGRESS, "Applied: x", 97)
    ended = incident(IncidentState.RESOLVED)
    await send(notifier, thread, ended, _K.ENDED, "adjust_resources: 3/3 replicas ready", 210)
    head = slack.head
    assert "3m30s" in everything(head)
    assert "resolved" in everything(head)
    assert "3/3 replicas ready" in everything(head)
    assert head["attachments"][0]["color"] != red
    assert [body["thread_ts"] for body in slack.thread] == ["1773456000.000001"] * 3
    assert {call.token for call in slack.calls} == {BOT_TOKEN}


async def test_the_approval_shows_the_exact_change_and_loses_its_buttons_when_decided(
    notifier: SlackNotifier, slack: FakeSlack
) -> None:
    pending = incident(IncidentState.APPROVAL_PENDING)
    request = a_request(pending.id)
    thread = await send(notifier, "", incident(), _K.DETECTED, "signals", 0)
    thread = await send(notifier, thread, pending, _K.APPROVAL, "diff", 19, approval=request)
    asked = everything(slack.thread[0])
    for text in (
        "512Mi",
        "1Gi",
        "3 replicas, 2 dependents",
        "quorum_production",
        "02:56:26 UTC",
        "oncall or sre-lead",
    ):
        assert text in asked, text
    blocks = slack.thread[0]["attachments"][0]["blocks"]
    buttons = next(block for block in blocks if block["type"] == "actions")["elements"]
    assert json.loads(buttons[0]["value"]) == {"approval": request.id, "digest": request.digest}
    text = "approved by Ana: approve (matches e4)"
    await send(notifier, thread, pending, _K.APPROVAL_DECIDED, text, 95, approval=request)
    assert len(slack.thread) == 1
    decided = slack.thread[0]
    assert not any(block["type"] == "actions" for block in decided["attachments"][0]["blocks"])
    assert text in everything(decided)
    assert "512Mi" in everything(decided)


async def test_a_huge_diff_is_cut_to_slacks_limits_and_says_so(
    notifier: SlackNotifier, slack: FakeSlack
) -> None:
    lines = tuple(DiffLine(path=f"/data/key-{n}", before="<" * 200, after="&" * 200) for n in range(300))
    request = a_request("INC-20260314-001", diff=lines, cause="word " * 2000)
    await send(notifier, "", incident(), _K.APPROVAL, "diff", 19, approval=request)
    blocks = slack.thread[0]["attachments"][0]["blocks"]
    texts = [b["text"]["text"] for b in blocks if b["type"] == "section" and "text" in b]
    assert max(len(text) for text in texts) <= 3000
    assert any("cut: the console shows all of it" in text and text.endswith("```") for text in texts)
    assert len(blocks) <= 50


async def test_text_from_the_cluster_can_neither_mention_nor_link_nor_leave_its_block(
    notifier: SlackNotifier, slack: FakeSlack
) -> None:
    hostile = "<!channel> <@U0ANA> @channel @here <http://evil|click> ``` & @everyone"
    request = a_request(
        "INC-20260314-001", cause=hostile, diff=(DiffLine(path="/x", before=hostile, after="1"),)
    )
    opened = incident(title=hostile)
    thread = await send(notifier, "", opened, _K.DETECTED, hostile, 0, fields={hostile: hostile})
    thread = await send(notifier, thread, opened, _K.PROGRESS, hostile, 1)
    await send(notifier, thread, opened, _K.APPROVAL, hostile, 2, approval=request)
    for call in slack.calls:
        sent = everything(call.body)
        for forbidden in ("<!channel>", "<@U0ANA>", "<http://evil", "@channel", "@here", "@everyone"):
            assert forbidden not in sent, forbidden
        if call.method == "chat.postMessage":
            assert (call.body["link_names"], call.body["parse"]) == (False, "none")
    code = [b["text"]["text"] for b in slack.thread[-1]["attachments"][0]["blocks"] if "text" in b]
    assert [text.count("```") for text in code if text.startswith("```")] == [2]
    assert escape("a<b>&c") == "a&lt;b&gt;&amp;c"
    assert "&l…" not in shorten("&lt;" * 1000, 100)


async def test_secrets_are_masked_before_anything_leaves(notifier: SlackNotifier, slack: FakeSlack) -> None:
    secret = "postgres://orders:s3cret-Passw0rd@db/orders"
    diff = (
        DiffLine(path="/data/url", before=json.dumps(secret), after='"x"'),
        DiffLine(path="/data/DB_PASSWORD", before='"correct horse"', after='"battery staple"'),
    )
    request = a_request("INC-20260314-001", cause=secret, diff=diff, policy_reasons=(secret,))
    opened = incident(title=f"cannot reach {secret}")
    thread = await send(notifier, "", opened, _K.DETECTED, secret, 0, fields={"log": secret})
    await send(notifier, thread, opened, _K.APPROVAL, secret, 1, approval=request)
    sent = " ".join(everything(call.body) for call in slack.calls)
    for part in ("s3cret-Passw0rd", "correct horse", "battery staple"):
        assert part not in sent
    assert "[redacted:" in sent


async def test_nothing_is_sent_when_redaction_fails(
    notifier: SlackNotifier, slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(text: str) -> None:
        raise RecursionError(text)

    monkeypatch.setattr("cortexops.domain.outgoing.redact", broken)
    answer = await notifier.send(tell(incident(), _K.DETECTED, "text", 0), "")
    assert answer.result is Delivery.REFUSED
    assert "redaction failed" in answer.detail
    assert slack.calls == []


@pytest.mark.parametrize(
    ("failure", "result", "seconds"),
    [
        (429, Delivery.RETRY, 7), (500, Delivery.RETRY, 5), (503, Delivery.RETRY, 5),
        ("internal_error", Delivery.RETRY, 5), ("invalid_auth", Delivery.REFUSED, None),
        ("channel_not_found", Delivery.REFUSED, None), ("not_in_channel", Delivery.REFUSED, None),
    ],
)  # fmt: skip
async def test_each_trouble_says_whether_to_try_again(
    notifier: SlackNotifier, slack: FakeSlack, failure: int | str, result: Delivery, seconds: float | None
) -> None:
    slack.failures = [failure]
    answer: Delivered = await notifier.send(tell(incident(), _K.DETECTED, "text", 0), "")
    assert answer.result is result
    assert seconds is None or answer.retry_seconds == seconds
    assert BOT_TOKEN not in answer.detail


async def test_a_slack_that_is_down_or_hangs_is_tried_again(
    slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    slack.hang_seconds = 2
    for url in (slack.url, "http://127.0.0.1:9/api/"):
        notifier = SlackNotifier(SlackSettings(bot_token=SecretStr(BOT_TOKEN), api_url=url))
        answer = await notifier.send(tell(incident(), _K.DETECTED, "text", 0), "")
        await notifier.close()
        assert answer.result is Delivery.RETRY


async def test_a_repeated_delivery_after_half_a_failure_opens_no_second_thread(
    notifier: SlackNotifier, slack: FakeSlack
) -> None:
    news = tell(incident(IncidentState.POLICY_CHECK), _K.DIAGNOSED, "Root cause: x", 12)
    original = slack._answer

    def fails_on_the_thread(method: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"ok": False, "error": "internal_error"} if body.get("thread_ts") else original(method, body)

    slack._answer = fails_on_the_thread  # type: ignore[method-assign]
    assert (await notifier.send(news, "")).result is Delivery.RETRY
    slack._answer = original  # type: ignore[method-assign]
    assert (await notifier.send(news, "")).result is Delivery.SENT
    assert slack.head["channel"]
    assert len(slack.thread) == 1


async def test_a_deleted_head_does_not_silence_the_thread(notifier: SlackNotifier, slack: FakeSlack) -> None:
    thread = await send(notifier, "", incident(), _K.DETECTED, "text", 0)
    slack.messages.clear()
    await send(notifier, thread, incident(), _K.PROGRESS, "go on", 5)
    assert len(slack.thread) == 1


async def test_the_registry_builds_slack_only_when_a_token_is_set() -> None:
    assert "slack" in NOTIFIERS
    assert build_notifiers(Settings()) == {}
    built = build_notifiers(Settings(slack={"bot_token": BOT_TOKEN}))
    assert list(built) == ["slack"]
    assert BOT_TOKEN not in repr(built)
    await built["slack"].close()
