"""Silence on an approval: when people are reminded, who, and who hears of it when nobody answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.approval_watch import ApprovalWatch
from activities.delivery import Delivery
from activities.notifiers.slack import SlackNotifier
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import ApprovalState, Decision, Person, Vote, still_to_answer
from cortexops.domain.audit import AuditType
from cortexops.domain.incident import Incident
from cortexops.domain.message import MessageKind
from cortexops.domain.reminders import reminder, silence_text, silent
from cortexops.settings import Settings
from tests.approvals.scene import slack_settings
from tests.console.support import PEOPLE, Clock
from tests.support.case import DIGEST, START, a_request, entry, open_case, tell
from tests.support.slack import FakeSlack

ASKED = START + timedelta(seconds=19)


def vote(who: str, decision: Decision = Decision.APPROVE, **more: Any) -> Vote:
    person = Person(id=who, name=who.title(), roles=("oncall",), via="slack")
    approval = more.pop("approval", a_request("INC-1").id)
    return Vote(approval_id=approval, person=person, decision=decision, digest=DIGEST, **more)


@pytest.mark.parametrize(
    ("seconds", "number"),
    [(0, None), (299, None), (300, 1), (599, 1), (600, 2), (899, 2), (900, None), (5000, None)],
)
def test_reminders_come_after_a_third_and_two_thirds(seconds: int, number: int | None) -> None:
    due = reminder(a_request("INC-1"), ASKED + timedelta(seconds=seconds))
    assert (due.number if due else None) == number
    assert due is None or due.last is (number == 2)


@given(st.lists(st.floats(0.01, 0.99), max_size=6), st.integers(-10, 1200))
def test_a_reminder_is_never_early_never_late_and_the_numbers_only_rise(
    shares: list[float], seconds: int
) -> None:
    request = a_request("INC-1")
    now = ASKED + timedelta(seconds=seconds)
    due = reminder(request, now, tuple(shares))
    if due is None:
        assert now >= request.expires_at or all(seconds < 900 * share for share in shares)
        return
    assert now < request.expires_at
    assert seconds >= 900 * sorted(shares)[due.number - 1] - 0.001
    later = reminder(request, now + timedelta(seconds=30), tuple(shares))
    assert later is None or later.number >= due.number


def test_only_those_are_called_who_can_still_approve() -> None:
    people = [
        Person(id="ana", roles=("oncall",)), Person(id="bo", roles=("sre-lead",)),
        Person(id="vi", roles=("viewer",)), Person(id="cy", roles=("oncall",)),
    ]  # fmt: skip
    request = a_request("INC-1", proposed_by="cy")
    assert [p.id for p in still_to_answer(request, [vote("ana")], people)] == ["bo"]
    assert [p.id for p in still_to_answer(a_request("INC-1", roles=()), [], people)] == [
        "ana",
        "bo",
        "vi",
        "cy",
    ]


def test_silence_is_told_for_an_hour_and_only_when_nobody_decided() -> None:
    request = a_request("INC-1", quorum=2)
    late = request.expires_at + timedelta(minutes=5)
    assert silent(request, ApprovalState.EXPIRED, late)
    assert not silent(request, ApprovalState.DENIED, late)
    assert not silent(request, ApprovalState.EXPIRED, late + timedelta(hours=1))
    assert "after 15 minutes; 1 of 2 approvals. Nothing was done" in silence_text(request, (vote("ana"),))


class Night:
    """An approval that waits, its watchers, and Slack at the end of the outbox."""

    def __init__(self, store: PostgresStore, slack: FakeSlack, **settings: Any) -> None:
        self.store, self.clock = store, Clock(ASKED)
        made = Settings(people=PEOPLE, slack=slack_settings(slack, **settings))
        self.notifier = SlackNotifier(made.slack, url="http://console", people=made.people)
        self._delivery = Delivery(store, {"slack": self.notifier})
        self.watches = [
            ApprovalWatch(store, every_seconds=1, shares=made.approvals.reminders, clock=self.clock)
            for _ in range(2)
        ]

    async def at(self, seconds: float) -> None:
        """Both watchers look, and what waits is delivered."""
        self.clock.now = ASKED + timedelta(seconds=seconds)
        for watch in self.watches * 2:
            await watch.look()
        while await self.store.waiting():
            await self._delivery._round("slack", self.notifier)

    async def settle(self, incident: Incident, state: ApprovalState, text: str) -> None:
        request = a_request(incident.id)
        await self.store.settle_approval(
            request.id,
            state,
            entry(incident.id, AuditType.APPROVAL_DECIDED, 900, text),
            tell(incident, MessageKind.APPROVAL_DECIDED, text, 900, approval=request),
        )


@pytest.fixture
async def begin(store: PostgresStore, slack: FakeSlack) -> AsyncIterator[Callable[..., Night]]:
    nights: list[Night] = []

    def made(**settings: Any) -> Night:
        nights.append(Night(store, slack, **settings))
        return nights[-1]

    yield made
    for night in nights:
        await night.notifier.close()


def whole(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False)


async def test_a_silent_night_reminds_twice_goes_up_and_is_told_once(
    store: PostgresStore, slack: FakeSlack, begin: Callable[..., Night]
) -> None:
    night = begin(escalation_channel="#leads", escalation_roles=("sre-lead",))
    incident = await open_case(store, request={"quorum": 2})
    await night.at(0)
    assert len(slack.thread) == 1
    await night.at(301)
    first = slack.thread[1]
    assert "<@U0ANA> <@U0BO>" in whole(first)
    assert "U0VI" not in whole(first)
    assert "10 minutes left" in whole(first)
    await night.at(601)
    call = slack.thread[2]
    assert "5 minutes left" in whole(call)
    (leads,) = [body for body in slack.messages.values() if body["channel"] == "#leads"]
    assert "<@U0BO>" in whole(leads)
    assert "<@U0ANA>" not in whole(leads)
    await night.settle(incident, ApprovalState.EXPIRED, "expired")
    await night.at(905)
    await night.at(1500)
    told = [body for body in slack.messages.values() if body["channel"] == "#leads"]
    assert len(told) == 2
    assert "Nobody answered" in whole(told[1])
    assert "Nothing was done" in whole(told[1])
    card = slack.thread[0]
    assert "expired" in whole(card)
    assert not any(block["type"] == "actions" for block in card["attachments"][0]["blocks"])
    types = [(e.type.value, e.reason) for e in await store.events(incident.id)]
    assert types.count(("approval_reminded", "approval_requested")) == 2
    assert types.count(("escalated", "approval_expired")) == 1


async def test_each_vote_is_on_the_card_and_who_has_voted_is_not_called(
    store: PostgresStore, slack: FakeSlack, begin: Callable[..., Night]
) -> None:
    night = begin()
    incident = await open_case(store, request={"quorum": 2})
    await night.at(10)
    said = vote("ana", approval=a_request(incident.id).id, reason="matches e4 <!channel>")
    await store.record_vote(said, entry(incident.id, AuditType.APPROVAL_VOTE, 20, "approve", actor="ana"))
    await night.at(30)
    assert len(slack.thread) == 1
    card = whole(slack.thread[0])
    assert "1 of 2 approvals" in card
    assert "Ana: approve (matches e4" in card
    assert "<!channel>" not in card
    assert "cortexops_approve" in card
    await night.at(301)
    assert "<@U0BO>" in whole(slack.thread[1])
    assert "<@U0ANA>" not in whole(slack.thread[1])


async def test_nobody_is_reminded_after_the_decision_even_by_a_watcher_that_was_late(
    store: PostgresStore, slack: FakeSlack, begin: Callable[..., Night]
) -> None:
    night = begin()
    incident = await open_case(store)
    await night.at(0)
    (record,) = await store.approvals(state=ApprovalState.PENDING)
    await night.settle(incident, ApprovalState.DENIED, "denied by Ana")
    night.clock.now = ASKED + timedelta(seconds=400)
    await night.watches[0]._remind(
        record, night.clock.now
    )  # it read before the decision, and writes after it
    await night.at(950)
    assert len(slack.thread) == 1
    assert "denied by Ana" in whole(slack.thread[0])


async def test_the_card_says_cause_evidence_change_radius_policy_and_expiry(
    store: PostgresStore, slack: FakeSlack, begin: Callable[..., Night]
) -> None:
    night = begin()
    secret = "postgres://orders:s3cret-Passw0rd@db/orders"
    await open_case(
        store, request={"evidence": (f"it logs in to {secret} [e2]", "OOMKilled, exit code 137 [e1]")}
    )
    await night.at(0)
    card = whole(slack.thread[0])
    for part in (
        "almost certain (93%)", "Release payment:4.2.0", "OOMKilled, exit code 137 [e1]", "512Mi", "1Gi",
        "3 replicas, 2 dependents", "production changes of resources need a person", "quorum_production",
        "1 person with role oncall or sre-lead", f"<!date^{int((ASKED + timedelta(minutes=15)).timestamp())}^",
    ):  # fmt: skip
        assert part in card, part
    assert "s3cret-Passw0rd" not in card
