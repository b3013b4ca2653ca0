"""Decisions that cannot be had, or that no longer stand when the change is about to be made."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities import health
from activities.deciding import Decider
from activities.guarded import GuardedRemediation
from cortexops.adapters.policy_bundle import Bundle
from cortexops.adapters.policy_opa import OpaPolicy
from cortexops.adapters.policy_regorus import RegorusPolicy
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import TemporaryError
from cortexops.domain.guardrails import Guardrails
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.limits import Phase as SlotPhase
from cortexops.domain.limits import RemediationLimits
from cortexops.domain.policy import Effect, PolicyInput
from cortexops.domain.verification import Limits, Phase
from cortexops.ports.policy import PolicyEngine
from tests.autonomy.support import a_note, a_stop, ask, ended
from tests.policies.test_opa import answering
from tests.policies.test_regorus import ENDLESS
from tests.remediation.support import POLICY, Stage
from tests.remediation.test_actions_live import scale
from tests.remediation.test_bad_input_apply import between
from tests.support.engines import ROOT
from tests.support.postgres import opened

ALLOW = '{"effect": "allow", "reasons": ["x"], "rule": "x"}'


def guarded(stage: Stage, limits: RemediationLimits | None = None) -> Stage:
    stage.activities = GuardedRemediation({stage.admin.name: stage.writer}, stage.store, limits)
    return stage


def decision(body: str) -> str:
    return f"package cortexops\n\n{body}\n"


@pytest.mark.parametrize(
    ("rego", "reason"),
    [
        (ENDLESS, "policy_timeout"),
        (decision(f"decision := {ALLOW} if 1 / 0 == 1"), "policy_error"),
        (decision(f"decision := {ALLOW}\n\ndecision := 2"), "policy_error"),
        (decision("other := true"), "policy_error"),
        (decision(f"decision := {ALLOW} if input.nothing_of_that_name"), "policy_undefined"),
        (decision('decision := "allow"'), "policy_nonsense"),
        (decision('decision := {"effect": "allow", "reasons": ["", " "]}'), "policy_without_reason"),
    ],
    ids=["loops", "errs", "contradicts", "is missing", "undefined", "nonsense", "without a reason"],
)
async def test_a_policy_that_gives_no_answer_is_a_denial_in_the_trail(
    store: PostgresStore, rego: str, reason: str
) -> None:
    incident = await opened(store)
    policy = RegorusPolicy(Bundle({"p.rego": rego}, {}), timeout_seconds=0.7 if rego is ENDLESS else 10)
    try:
        found = await ask(store, incident, policy)
    finally:
        await policy.close()
    assert (found.effect, found.rule, found.reasons) == (Effect.DENY, "fail_closed", (reason,))
    assert list(await store.slots()) == []  # nobody may act
    (event,) = [e for e in await store.events(incident.id) if e.type is AuditType.POLICY_VIOLATION]
    assert event.reason == "fail_closed"
    assert reason in event.detail
    assert event.data["effect"] == "deny"


async def test_an_answer_too_deep_to_be_read_is_a_denial(store: PostgresStore) -> None:
    incident = await opened(store)
    async with answering('{"result": ' + "[" * 30_000 + "]" * 30_000 + "}") as url:
        policy = OpaPolicy(url, timeout_seconds=5)
        try:
            found = await ask(store, incident, policy)
        finally:
            await policy.close()
    assert (found.effect, found.reasons) == (Effect.DENY, ("policy_error",))


class Vanishing:
    """A policy that answers once and is gone when it is asked again."""

    def __init__(self, engine: RegorusPolicy) -> None:
        self._engine = engine
        self.asked = 0

    async def evaluate(self, question: PolicyInput) -> Any:
        self.asked += 1
        if self.asked > 1:
            self._engine._bundle = Bundle({}, {})
            await self._engine.close()
        return await self._engine.evaluate(question)

    async def health(self) -> str | None:
        return await self._engine.health()

    async def close(self) -> None:
        await self._engine.close()


@pytest.fixture
async def vanishing() -> AsyncIterator[PolicyEngine]:
    policy = Vanishing(RegorusPolicy(Bundle({"p.rego": decision(f"decision := {ALLOW}")}, {})))
    yield policy
    await policy.close()


async def test_a_policy_that_disappears_denies_the_next_question(
    store: PostgresStore, vanishing: PolicyEngine
) -> None:
    incident = await opened(store)
    assert (await ask(store, incident, vanishing, key="one")).effect is Effect.ALLOW
    gone = await ask(store, incident, vanishing, key="two")
    assert (gone.effect, gone.rule) == (Effect.DENY, "fail_closed")
    (event,) = [e for e in await store.events(incident.id) if e.type is AuditType.POLICY_VIOLATION]
    assert event.data["reasons"] == list(gone.reasons)


async def test_a_policy_that_changed_after_the_approval_voids_it(stage: Stage) -> None:
    stage = guarded(stage)
    await stage.store.note_revision("regorus", POLICY, a_note("first"))
    order = await stage.order(await scale(stage))
    before = await stage.live()
    await stage.store.note_revision("regorus", "policy-2", a_note("second"))
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.CHANGED, Reason.POLICY_CHANGED)
    assert "regorus decides by revision policy-2" in result.detail
    assert (await stage.live())["spec"] == before["spec"]
    assert await stage.store.rows_of(stage.incident) == []
    (event,) = await stage.trail()
    assert (event.type, event.reason, event.detail) == (
        AuditType.ACTION_REFUSED,
        Reason.POLICY_CHANGED,
        result.detail,
    )
    await stage.store.note_revision("regorus", POLICY, a_note("third"))
    assert (await stage.apply(order)).outcome is ApplyOutcome.APPLIED


async def test_what_was_begun_under_the_policy_before_is_finished_and_not_left_half_done(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = guarded(stage)
    await stage.store.note_revision("regorus", POLICY, a_note("first"))
    order = await stage.order(await scale(stage))

    async def hangs_after(call: Any, send: Any) -> Any:
        _, args, options = call
        await send(*args, **options)
        raise TemporaryError("no answer from the API server in time")

    calls = between(stage, monkeypatch, hangs_after)
    with pytest.raises(ApplicationError):
        await stage.apply(order)
    await stage.store.note_revision("regorus", "policy-2", a_note("second"))
    assert (await stage.apply(order)).outcome is ApplyOutcome.APPLIED
    assert len(calls) == 1


async def test_a_stop_between_intent_and_change_stops_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = guarded(stage)
    order = await stage.order(await scale(stage))
    before = await stage.live()
    intend = stage.store.intend

    async def then_stopped(*args: Any) -> Any:
        row = await intend(*args)
        await stage.store.add_stop(a_stop(namespace=stage.space), a_note("stop_added"))
        return row

    monkeypatch.setattr(stage.store, "intend", then_stopped)
    calls = between(stage, monkeypatch, lambda call, send: send(*call[1], **call[2]))
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.REFUSED, Reason.APPLY_REFUSED)
    assert "stopped: stop-1" in result.detail
    assert "by ana: game day" in result.detail
    assert calls == []
    assert (await stage.live())["spec"] == before["spec"]
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.REFUSED
    assert [e.type for e in await stage.trail()] == [AuditType.INTENT, AuditType.ACTION_REFUSED]


async def test_a_change_whose_answer_was_lost_before_the_stop_is_recorded_as_made(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop must not make the ledger deny what is there."""
    stage = guarded(stage)
    order = await stage.order(await scale(stage))

    async def hangs_after(call: Any, send: Any) -> Any:
        _, args, options = call
        await send(*args, **options)
        await stage.store.add_stop(a_stop(), a_note("stop_added"))
        raise TemporaryError("no answer from the API server in time")

    between(stage, monkeypatch, hangs_after)
    with pytest.raises(ApplicationError):
        await stage.apply(order)
    result = await stage.apply(order)
    assert result.outcome is ApplyOutcome.APPLIED, result.detail
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.APPLIED


async def test_two_incidents_with_approvals_for_one_object_never_both_change_it(stage: Stage) -> None:
    limits = RemediationLimits()
    action = await scale(stage)
    mine, other = stage.incident, (await opened(stage.store, "other")).id
    stage = guarded(stage, limits)
    first = await stage.order(action)
    second = first.model_copy(update={"step": first.step.model_copy(update={"incident_id": other})})
    assert (await stage.apply(first)).outcome is ApplyOutcome.APPLIED
    generation = await stage.generation()
    for _ in range(2):
        with pytest.raises(
            ApplicationError, match=f"target_locked: {mine} works on the same object"
        ) as waits:
            await stage.apply(second)
        assert not waits.value.non_retryable
    assert await stage.generation() == generation
    (said,) = [e for e in await stage.store.events(other) if e.reason == Reason.LIMITED]
    assert f"{mine} works on the same object" in said.detail
    incident = await stage.store.incident(mine)
    assert incident is not None
    await ended(stage.store, incident)
    late = await stage.apply(second)
    assert (late.outcome, late.reason) == (ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED)
    assert await stage.generation() == generation
    last = (await stage.store.events(other))[-1]
    assert (last.type, last.reason) == (AuditType.ACTION_REFUSED, Reason.OBJECT_CHANGED)


async def test_a_wall_clock_that_jumps_makes_no_stable_health_out_of_a_moment(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    (node,) = (await stage.admin.list("Node")).items
    hours = itertools.count()
    began = datetime.now(UTC)

    def jumping() -> datetime:
        return began + timedelta(hours=next(hours))

    monkeypatch.setattr(health, "utc_now", jumping)
    target = stage.ref("Node", node["metadata"]["name"])
    limits = Limits(window=5, stable_for=0.4, interval=0.05)
    verdict = await health.watch_health(stage.writer, [target], limits, since=began)
    assert verdict.phase is Phase.SUCCESSFUL, verdict.detail
    assert verdict.seconds is not None
    assert 0.4 <= verdict.seconds < 5


@pytest.mark.parametrize("shift", [timedelta(hours=5), timedelta(hours=-5)], ids=["ahead", "behind"])
async def test_a_worker_with_a_wrong_clock_neither_takes_nor_keeps_a_slot(
    simulated: Stage, shift: timedelta
) -> None:
    """All that a worker does goes through its own clock, except leases."""

    def wrong() -> datetime:
        return datetime.now(UTC) + shift

    store, limits = simulated.store, RemediationLimits(at_once=1)
    order = await simulated.order(await scale(simulated))
    holder = await opened(store, "holder")
    held = await store.admit(holder.id, "elsewhere", SlotPhase.RUNNING, limits)
    assert held.slot is not None
    simulated.activities = GuardedRemediation(
        {simulated.admin.name: simulated.writer}, store, limits, clock=wrong
    )
    with pytest.raises(
        ApplicationError, match="too_many_remediations"
    ):  # no slot is taken that another holds
        await simulated.apply(order)
    slots = {slot.incident_id: slot for slot in await store.slots()}
    assert slots[holder.id] == held.slot
    now = datetime.now(UTC)
    assert now < slots[simulated.incident].expires_at < now + timedelta(minutes=5)  # nor waited for too long
    await ended(store, holder)
    assert (await simulated.apply(order)).outcome is ApplyOutcome.APPLIED
    (mine,) = await store.slots()
    assert abs(mine.expires_at - datetime.now(UTC) - limits.lease) < timedelta(minutes=1)


async def test_who_waits_for_a_turn_is_asked_again_soon_whatever_the_deciders_clock(
    store: PostgresStore,
) -> None:
    guardrails = Guardrails(limits=RemediationLimits(at_once=1))
    holder, waiting = await opened(store, "holder"), await opened(store, "waiting")
    assert (await store.admit(holder.id, "x", SlotPhase.RUNNING, guardrails.limits)).entry == "admitted"
    assert (await store.admit(waiting.id, "y", SlotPhase.RUNNING, guardrails.limits)).entry == "wait"
    policy = RegorusPolicy(Bundle({"a.rego": decision(f"decision := {ALLOW}")}, {}))
    ahead = Decider(store, policy, guardrails, clock=lambda: datetime.now(UTC) + timedelta(hours=5))
    hold, waited = await ahead.queued(waiting)
    assert waited and hold.until is not None
    assert hold.until - datetime.now(UTC) < timedelta(minutes=1)


def test_operators_find_every_reason_of_a_closed_failure_in_the_documentation() -> None:
    told = (ROOT / "docs/policies.md").read_text(encoding="utf-8")
    for reason in (
        "policy_timeout", "policy_error", "policy_undefined", "policy_nonsense", "policy_without_reason",
        "policy_unreachable", "policy_revision_unknown",
    ):  # fmt: skip
        assert f"`{reason}`" in told, reason
