"""PagerDuty against a fake of its Events API at the wire: who is paged, how often, and when it is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from activities.approval_watch import ApprovalWatch
from activities.delivery import Delivery as Outbox
from activities.notifiers import build_notifiers
from activities.notifiers.pagerduty import PagerDutyNotifier
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import ApprovalState, Decision, Person, Vote
from cortexops.domain.audit import AuditType
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.message import Delivery, Message, MessageKind
from cortexops.domain.paging import HALF_DONE, UNATTENDED, Call, call
from cortexops.settings import Settings
from cortexops.settings_pagerduty import PagerDutySettings
from tests.console.support import Clock
from tests.support.case import DIGEST, START, a_request, an_incident, entry, open_case, tell
from tests.support.engines import Database
from tests.support.pagerduty import ROUTING_KEY, FakePagerDuty, fake_pagerduty

_K, _S = MessageKind, IncidentState
ID = "INC-20260314-001"
ALERT = f"cortexops/{ID}"


@pytest.fixture
async def pagerduty() -> AsyncIterator[FakePagerDuty]:
    async with fake_pagerduty() as fake:
        yield fake


@pytest.fixture
async def notifier(pagerduty: FakePagerDuty) -> AsyncIterator[PagerDutyNotifier]:
    settings = PagerDutySettings(routing_key=SecretStr(ROUTING_KEY), api_url=pagerduty.url)
    made = PagerDutyNotifier(settings, url="http://console.test:8090")
    yield made
    await made.close()


def news(kind: MessageKind, state: IncidentState, reason: Reason, text: str = "text", **more: Any) -> Message:
    votes, drill = more.pop("votes", ()), more.pop("drill", False)
    told = tell(an_incident(id=ID, state=state, reason=reason, drill=drill), kind, text, 700, **more)
    return told.model_copy(update={"votes": votes})


def last_call(**more: Any) -> Message:
    return news(
        _K.APPROVAL_LAST_CALL, _S.APPROVAL_PENDING, Reason.APPROVAL_REQUESTED,
        "5 minutes left to answer", approval=a_request(ID), **more,
    )  # fmt: skip


def decided(*decisions: Decision) -> Message:
    votes = tuple(
        Vote(
            approval_id=a_request(ID).id,
            person=Person(id=f"p{n}", roles=("oncall",), via="token"),
            decision=decision,
            digest=DIGEST,
        )
        for n, decision in enumerate(decisions)
    )
    return news(
        _K.APPROVAL_DECIDED, _S.APPROVAL_PENDING, Reason.APPROVAL_REQUESTED,
        approval=a_request(ID), votes=votes,
    )  # fmt: skip


def ended(state: IncidentState, reason: Reason) -> Message:
    return news(_K.ENDED, state, reason)


async def story(notifier: PagerDutyNotifier, *messages: Message) -> None:
    thread = ""
    for message in messages:
        answer = await notifier.send(message, thread)
        assert answer.result is Delivery.SENT, answer
        thread = answer.reference


async def test_an_unanswered_approval_pages_once_and_its_good_end_closes_the_page(
    notifier: PagerDutyNotifier, pagerduty: FakePagerDuty
) -> None:
    await story(
        notifier,
        news(_K.DETECTED, _S.DETECTED, Reason.SIGNALS_GROUPED),
        news(_K.APPROVAL, _S.APPROVAL_PENDING, Reason.APPROVAL_REQUESTED, approval=a_request(ID)),
        news(_K.APPROVAL_REMINDER, _S.APPROVAL_PENDING, Reason.APPROVAL_REQUESTED, approval=a_request(ID)),
        last_call(),
        decided(Decision.APPROVE),
        news(_K.PROGRESS, _S.VERIFYING, Reason.APPLIED),
        ended(_S.RESOLVED, Reason.VERIFIED),
    )
    assert pagerduty.actions == ["trigger", "acknowledge", "resolve"]
    assert pagerduty.alerts == {ALERT: "resolved"}
    page = pagerduty.events[0]
    assert page["payload"]["severity"] == "critical"
    assert "payment-service is OOM-killed: 5 minutes left" in page["payload"]["summary"]
    assert page["payload"]["timestamp"].startswith("2026-03-14T02:52:47")
    assert "memory_limit=1Gi" in page["payload"]["custom_details"]["action"]
    assert page["client_url"] == f"http://console.test:8090/incidents/{ID}"


async def test_an_approval_that_ran_out_pages_and_stays_open_for_a_person(
    notifier: PagerDutyNotifier, pagerduty: FakePagerDuty
) -> None:
    over = news(_K.APPROVAL_SILENCE, _S.EXPIRED, Reason.APPROVAL_EXPIRED, approval=a_request(ID))
    await story(notifier, last_call(), decided(), ended(_S.EXPIRED, Reason.APPROVAL_EXPIRED), over)
    assert pagerduty.actions == ["trigger", "trigger"]
    assert pagerduty.alerts == {ALERT: "triggered"}


@pytest.mark.parametrize("reason", sorted(HALF_DONE))
async def test_a_failed_undo_pages_at_the_highest_urgency_whatever_the_incidents(
    notifier: PagerDutyNotifier, pagerduty: FakePagerDuty, reason: Reason
) -> None:
    await story(
        notifier,
        news(_K.DETECTED, _S.DETECTED, Reason.SIGNALS_GROUPED),
        ended(_S.ESCALATED, reason).model_copy(update={"severity": "low"}),
    )
    (page,) = pagerduty.events
    assert (page["payload"]["severity"], page["payload"]["class"]) == ("critical", "undo failed")
    assert page["payload"]["custom_details"]["reason"] == reason
    assert pagerduty.alerts == {ALERT: "triggered"}


@pytest.mark.parametrize(
    ("state", "reason", "left"),
    [
        (_S.RESOLVED, Reason.SIGNALS_RESOLVED, "resolved"), (_S.DENIED, Reason.APPROVAL_DENIED, "resolved"),
        (_S.ROLLED_BACK, Reason.COMPENSATED, "resolved"), (_S.MERGED, Reason.MERGED_INTO, "resolved"),
        (_S.ESCALATED, Reason.TAKEN_OVER, "resolved"), (_S.ESCALATED, Reason.TERMINATED, "resolved"),
        (_S.ESCALATED, Reason.ATTEMPTS_EXHAUSTED, "triggered"), (_S.EXPIRED, Reason.APPROVAL_EXPIRED, "triggered"),
    ],
)  # fmt: skip
async def test_the_end_closes_the_page_unless_somebody_is_still_needed(
    notifier: PagerDutyNotifier, pagerduty: FakePagerDuty, state: IncidentState, reason: Reason, left: str
) -> None:
    await story(notifier, last_call(), ended(state, reason))
    assert pagerduty.alerts == {ALERT: left}


async def test_who_was_never_paged_hears_of_no_end_and_a_drill_wakes_nobody(
    notifier: PagerDutyNotifier, pagerduty: FakePagerDuty
) -> None:
    await story(notifier, decided(Decision.APPROVE), ended(_S.RESOLVED, Reason.VERIFIED))
    await story(notifier, last_call(drill=True), ended(_S.RESOLVED, Reason.VERIFIED))
    assert pagerduty.events == []


async def test_a_key_from_a_file_is_read_anew_and_waited_for(
    pagerduty: FakePagerDuty, tmp_path: Path
) -> None:
    file = tmp_path / "routing-key"
    notifier = PagerDutyNotifier(PagerDutySettings(routing_key_file=file, api_url=pagerduty.url))
    missing = await notifier.send(last_call(), "")
    assert missing.result is Delivery.RETRY
    assert "routing_key_file" in missing.detail
    file.write_text("the-one-before\n")
    refused = await notifier.send(last_call(), "")
    assert refused.result is Delivery.REFUSED
    assert "the-one-before" not in refused.detail
    file.write_text(f"{ROUTING_KEY}\n")
    assert (await notifier.send(last_call(), "")).result is Delivery.SENT
    await notifier.close()
    assert pagerduty.actions == ["trigger"]


async def test_a_long_hostile_text_is_cut_and_masked(
    notifier: PagerDutyNotifier, pagerduty: FakePagerDuty
) -> None:
    secret = "postgres://orders:s3cret-Passw0rd@db/orders"
    request = a_request(ID, cause=secret, action=f"set {secret}")
    long = news(
        _K.APPROVAL_LAST_CALL, _S.APPROVAL_PENDING, Reason.APPROVAL_REQUESTED,
        f"{secret} " + "x" * 90_000, approval=request,
    )  # fmt: skip
    await story(notifier, long)
    sent = json.dumps(pagerduty.events)
    assert "s3cret-Passw0rd" not in sent
    assert len(sent) < 20_000


@pytest.mark.parametrize(
    "settings",
    [
        {"routing_key": "k", "api_url": "http://events.example.org"}, {"routing_key": " "},
        {"routing_key": "k", "routing_key_file": "/x"},
    ],
)  # fmt: skip
def test_settings_that_would_leak_or_lose_the_key_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings(pagerduty=settings)


async def test_it_is_built_only_where_a_key_is_set() -> None:
    assert "pagerduty" not in build_notifiers(Settings())
    settings = Settings(pagerduty=PagerDutySettings(routing_key=SecretStr(ROUTING_KEY)))
    assert ROUTING_KEY not in repr(settings)
    for notifier in build_notifiers(settings).values():
        await notifier.close()


_messages = st.builds(
    lambda kind, state, reason, drill: news(
        kind, state, reason, drill=drill, approval=a_request(ID) if "approval" in kind else None
    ),
    st.sampled_from(_K), st.sampled_from(_S), st.sampled_from(Reason), st.booleans(),
)  # fmt: skip


@given(_messages, st.booleans())
def test_only_silence_failed_undos_and_ended_automation_page_and_only_open_pages_are_closed(
    message: Message, open_page: bool
) -> None:
    done = call(message, open_page=open_page)
    if done is Call.TRIGGER:
        silence = message.kind in (_K.APPROVAL_LAST_CALL, _K.APPROVAL_SILENCE)
        assert silence or message.reason in HALF_DONE | UNATTENDED
    if done in (Call.RESOLVE, Call.ACKNOWLEDGE):
        assert open_page
    if done is Call.RESOLVE:
        urgent = message.reason in HALF_DONE | UNATTENDED and message.state is _S.ESCALATED
        assert (message.kind, urgent) == (_K.ENDED, False)
    assert not (message.drill and done)


async def test_silence_reaches_pagerduty_through_the_books_and_once_with_two_consoles(
    migrated_database: Database, notifier: PagerDutyNotifier, pagerduty: FakePagerDuty
) -> None:
    store = await PostgresStore.connect(migrated_database.dsn, notifiers=["pagerduty"], pool_size=3)
    incident = await open_case(store)
    clock = Clock(START + timedelta(seconds=19 + 620))
    watches = [ApprovalWatch(store, every_seconds=5, shares=(1 / 3, 2 / 3), clock=clock) for _ in "ab"]
    outbox = Outbox(store, {"pagerduty": notifier}, idle_seconds=0.02)
    for _ in range(2):
        for watch in watches:
            await watch.look()
    await _empty(outbox, store)
    assert pagerduty.actions == ["trigger"]
    clock.advance(seconds=300)
    await _expire(store, incident)
    for watch in watches:
        await watch.look()
    await _empty(outbox, store)
    await store.close()
    assert pagerduty.actions == ["trigger", "trigger"]
    assert {event["dedup_key"] for event in pagerduty.events} == {f"cortexops/{incident.id}"}


async def _expire(store: PostgresStore, incident: Incident) -> None:
    request = a_request(incident.id)
    over = incident.model_copy(update={"state": _S.EXPIRED, "reason": Reason.APPROVAL_EXPIRED})
    at = 19 + 15 * 60
    await store.settle_approval(
        request.id, ApprovalState.EXPIRED, entry(incident.id, AuditType.APPROVAL_DECIDED, at, "expired"),
        tell(incident, _K.APPROVAL_DECIDED, "expired", at, approval=request),
    )  # fmt: skip
    await store.update_incident(over, [], [tell(over, _K.ENDED, "nobody answered", at)])


async def _empty(outbox: Outbox, store: PostgresStore) -> None:
    await outbox.start()
    async with asyncio.timeout(10):
        while await store.waiting():
            await asyncio.sleep(0.02)
    await outbox.stop()
