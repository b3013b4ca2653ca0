"""What every notifier must do, whichever service it talks to. A notifier without a stage here fails."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from activities.notifiers import NOTIFIERS, Notifier
from activities.notifiers.pagerduty import PagerDutyNotifier
from activities.notifiers.slack import SlackNotifier
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.message import Delivery, Message, MessageKind
from cortexops.settings import SlackSettings
from cortexops.settings_pagerduty import PagerDutySettings
from tests.support.case import a_request, an_incident, tell
from tests.support.pagerduty import ROUTING_KEY, fake_pagerduty
from tests.support.slack import BOT_TOKEN, fake_slack

KINDS = ("pagerduty", "slack")
ID = "INC-20260314-001"


@dataclass
class Stage:
    """One notifier before its service. `make(url)` builds another one, for another address."""

    kind: str
    fake: Any
    make: Callable[[str], Notifier]
    secret: str
    refusal: int | str
    """What the service answers to a request that will never be right."""

    def sent(self) -> list[Any]:
        return list(self.fake.calls if self.kind == "slack" else self.fake.events)


@pytest.fixture(params=KINDS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        if request.param == "slack":
            slack = await stack.enter_async_context(fake_slack())

            def with_slack(url: str) -> Notifier:
                made = SlackNotifier(SlackSettings(bot_token=SecretStr(BOT_TOKEN), api_url=url))
                stack.push_async_callback(made.close)
                return made

            yield Stage("slack", slack, with_slack, BOT_TOKEN, "channel_not_found")
        else:
            pagerduty = await stack.enter_async_context(fake_pagerduty())

            def with_pagerduty(url: str) -> Notifier:
                key = SecretStr(ROUTING_KEY)
                made = PagerDutyNotifier(PagerDutySettings(routing_key=key, api_url=url, timeout_seconds=0.4))
                stack.push_async_callback(made.close)
                return made

            yield Stage("pagerduty", pagerduty, with_pagerduty, ROUTING_KEY, 400)


def urgent(text: str = "5 minutes left", **changes: Any) -> Message:
    """A message that every notifier sends on."""
    incident = an_incident(
        id=ID, state=IncidentState.APPROVAL_PENDING, reason=Reason.APPROVAL_REQUESTED, **changes
    )
    return tell(incident, MessageKind.APPROVAL_LAST_CALL, text, 620, approval=a_request(ID))


def test_every_notifier_stands_here() -> None:
    assert set(NOTIFIERS.kinds) == set(KINDS)


async def test_an_urgent_message_is_sent_and_answers_a_reference(stage: Stage) -> None:
    answer = await stage.make(stage.fake.url).send(urgent(), "")
    assert answer.result is Delivery.SENT
    assert answer.reference
    assert stage.sent()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_service_in_trouble_is_tried_again_not_before_it_asks(stage: Stage, status: int) -> None:
    stage.fake.failures = [status]
    answer = await stage.make(stage.fake.url).send(urgent(), "")
    assert answer.result is Delivery.RETRY
    assert answer.retry_seconds == (7 if status == 429 else 5)
    assert stage.secret not in answer.detail


async def test_what_the_service_refuses_is_not_sent_for_ever_and_no_secret_is_told(stage: Stage) -> None:
    stage.fake.failures = [stage.refusal]
    with structlog.testing.capture_logs() as logs:
        answer = await stage.make(stage.fake.url).send(urgent(), "")
    assert answer.result is Delivery.REFUSED
    assert stage.secret not in answer.detail + json.dumps(logs, default=str)


async def test_a_service_that_is_away_or_hangs_is_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.notifiers.slack._PATIENCE", 0.3)
    stage.fake.hang_seconds = 2
    for url in (stage.fake.url, "http://127.0.0.1:9/api/"):
        answer = await stage.make(url).send(urgent(), "")
        assert answer.result is Delivery.RETRY
        assert stage.secret not in answer.detail


async def test_nothing_is_sent_when_masking_fails(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> None:
        raise RecursionError(text)

    monkeypatch.setattr("cortexops.domain.outgoing.redact", broken)
    answer = await stage.make(stage.fake.url).send(urgent(), "")
    assert answer.result is Delivery.REFUSED
    assert "redaction failed" in answer.detail
    assert stage.sent() == []


async def test_secrets_in_titles_and_texts_are_masked(stage: Stage) -> None:
    secret = "postgres://orders:s3cret-Passw0rd@db/orders"
    await stage.make(stage.fake.url).send(urgent(secret, title=f"cannot reach {secret}"), "")
    sent = json.dumps(stage.sent(), default=str)
    assert "s3cret-Passw0rd" not in sent
    assert "[redacted:" in sent


@pytest.mark.parametrize("thread", ["", "{", "[]", '{"open": 7}', "null", "\x00"])
async def test_a_reference_that_is_unreadable_stops_no_message(stage: Stage, thread: str) -> None:
    answer = await stage.make(stage.fake.url).send(urgent(), thread)
    assert answer.result is Delivery.SENT
