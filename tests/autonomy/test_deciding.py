"""The decision with everything that people and the past put into it, on a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.guards import stopped
from activities.records import RecordActivities
from cortexops.adapters.policy import shipped_bundle
from cortexops.adapters.policy_regorus import RegorusPolicy
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.records import ReassessInput
from cortexops.domain.action import BlastRadius, ProposedBy, ProposerKind
from cortexops.domain.audit import PLATFORM, AuditType
from cortexops.domain.autonomy import Ladder, Level, Override
from cortexops.domain.change import Verb
from cortexops.domain.errors import NotFound, TemporaryError
from cortexops.domain.guardrails import Guardrails
from cortexops.domain.ids import digest
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.limits import RemediationLimits
from cortexops.domain.policy import Effect, FreezeWindow, Outcomes, withdrawn
from cortexops.ports.switches import SwitchStore
from tests.autonomy.support import (
    NOW,
    Fixed,
    a_note,
    a_stop,
    an_action,
    ask,
    changed,
    ended,
)
from tests.support.engines import Database
from tests.support.postgres import a_message, an_entry, as_owner, opened

APPLIED, VERIFIED, BACK = LedgerState.APPLIED, LedgerState.VERIFIED, LedgerState.COMPENSATED
AUTO = Guardrails(ladder=Ladder(default=Level.AUTO))


@pytest.mark.parametrize(
    ("scope", "stops"),
    [
        ({}, True),
        ({"cluster": "east"}, True),
        ({"cluster": "west"}, False),
        ({"namespace": "shop"}, True),
        ({"namespace": "pay"}, False),
        ({"action": "rollback_rollout"}, True),
        ({"action": "scale_workload"}, False),
        ({"cluster": "east", "namespace": "shop", "action": "rollback_rollout"}, True),
        ({"cluster": "east", "namespace": "shop", "action": "scale_workload"}, False),
    ],
)
async def test_a_stop_denies_what_it_covers(store: PostgresStore, scope: dict[str, Any], stops: bool) -> None:
    await store.add_stop(a_stop(**scope), a_note("stop_added"))
    incident = await opened(store)
    decision = await ask(store, incident)
    if not stops:
        assert decision.effect is Effect.ALLOW
        return
    assert (decision.effect, decision.rule) == (Effect.DENY, "kill_switch")
    assert decision.reasons == ("stop-1 by ana: game day",)
    (event,) = [e for e in await store.events(incident.id) if e.type is AuditType.POLICY_VIOLATION]
    assert (event.reason, event.data["answer"]["effect"]) == ("kill_switch", "allow")


async def test_a_stop_ends_by_itself_or_when_somebody_resumes(store: PostgresStore) -> None:
    now, action = datetime.now(UTC), an_action()
    await store.add_stop(a_stop(1, until=now - timedelta(seconds=1)), a_note())
    assert await stopped(store, action, now) is None
    assert "stop-1" in str(await stopped(store, action, now - timedelta(hours=1)))  # a clock that is behind
    await store.add_stop(a_stop(2, cluster="east"), a_note())
    assert "stop-2" in str(await stopped(store, action, now))
    resumed = await store.resume_stop("stop-2", "bo", NOW, a_note("stop_resumed"))
    assert (resumed.resumed_by, resumed.resumed_at) == ("bo", NOW)
    assert await store.resume_stop("stop-2", "eve", NOW, a_note("again")) == resumed
    assert await stopped(store, action, now) is None
    assert [e.reason for e in await store.events(PLATFORM) if e.reason.startswith("stop")] == ["stop_resumed"]
    assert len(await store.stops(ended=True)) == 2
    with pytest.raises(NotFound):
        await store.resume_stop("stop-9", "bo", NOW, a_note())


async def test_a_clock_that_is_ahead_ends_no_stop(store: PostgresStore) -> None:
    now = datetime.now(UTC)
    await store.add_stop(a_stop(until=now + timedelta(hours=1)), a_note())
    assert await stopped(store, an_action(), now + timedelta(days=1)) is not None


async def test_a_node_is_part_of_every_namespace_that_is_stopped(store: PostgresStore) -> None:
    await store.add_stop(a_stop(namespace="shop"), a_note())
    node = an_action(namespace="", type_="cordon_node")
    assert await stopped(store, node, NOW) is not None


class _Away(SwitchStore):
    async def stops_in_force(self, now: Any) -> Any:
        raise TemporaryError("Postgres does not answer")


async def test_stops_that_cannot_be_read_stop_everything(
    store: PostgresStore, migrated_database: Database
) -> None:
    away: Any = _Away()  # type: ignore[abstract]
    assert "stops_unreadable" in str(await stopped(away, an_action()))
    await store.add_stop(a_stop(cluster="west"), a_note())
    await as_owner(migrated_database, "UPDATE stops SET body = '{}'")
    assert "stops_unreadable" in str(await stopped(store, an_action(), NOW))
    decision = await ask(store, await opened(store))
    assert (decision.effect, decision.rule) == (Effect.DENY, "fail_closed")
    assert decision.reasons == ("context_unavailable",)


async def test_a_database_that_is_away_denies_and_records_nothing(
    store: PostgresStore, migrated_database: Database
) -> None:
    incident = await opened(store)
    policy = Fixed()
    await as_owner(migrated_database, "ALTER TABLE stops RENAME TO stops_away")
    decision = await ask(store, incident, policy)
    assert (decision.effect, decision.reasons) == (Effect.DENY, ("context_unavailable",))
    assert policy.asked == []


async def test_policy_sees_what_the_action_achieved_here(store: PostgresStore) -> None:
    await changed(store, "a", APPLIED, VERIFIED)
    await changed(store, "b", APPLIED, VERIFIED, action=an_action("web"))
    await changed(store, "c", APPLIED, BACK)
    await changed(store, "d", APPLIED)  # its incident ended, and nobody verified it
    await changed(store, "e", LedgerState.REFUSED)
    await changed(store, "i", APPLIED, verb=Verb.PROPOSE)  # a pull request that waits for people
    await changed(store, "f", APPLIED, VERIFIED, drill=True)
    await changed(store, "g", APPLIED, VERIFIED, at=NOW - timedelta(days=40))
    await changed(store, "h", APPLIED, VERIFIED, action=an_action(type_="scale_workload"))
    policy = Fixed()
    freeze = FreezeWindow(name="spring", start=NOW - timedelta(days=1), end=NOW + timedelta(days=1))
    await ask(store, await opened(store), policy, Guardrails(freezes=(freeze,)))
    (asked,) = policy.asked
    assert asked.history.target == Outcomes(verified=1, rolled_back=1, failed=1)
    assert asked.history.namespace == Outcomes(verified=2, rolled_back=1, failed=1)
    assert (asked.autonomy.level, asked.autonomy.trials) == (Level.SUGGEST, 4)
    assert asked.freezes == (freeze,)


@pytest.mark.parametrize("level", [Level.OBSERVE, Level.SUGGEST])
async def test_who_observes_or_suggests_does_nothing_whatever_the_bundle_says(
    store: PostgresStore, level: Level
) -> None:
    override = Override(
        id="o", level=level, namespace="shop", reason="new here", set_by="ana",
        since=NOW - timedelta(hours=1), until=NOW + timedelta(hours=1),
    )  # fmt: skip
    await store.set_override(override, a_note())
    incident = await opened(store)
    decision = await ask(store, incident, commands=("kubectl rollout undo deployment/api",))
    shown = ("kubectl rollout undo deployment/api",) if level is Level.SUGGEST else ()
    assert (decision.effect, decision.rule, decision.reasons) == (
        Effect.DENY,
        "autonomy",
        (f"{level}_only", *shown),
    )
    await store.clear_override("o", NOW, a_note("cleared"))
    assert (await ask(store, incident, key="policy-2")).effect is Effect.ALLOW
    assert list(await store.overrides()) == []
    assert [o.cleared_at for o in await store.overrides(ended=True)] == [NOW]


async def test_the_whole_question_is_kept_with_its_secrets_masked(store: PostgresStore) -> None:
    incident = await opened(store)
    secret = an_action().model_copy(update={"params": {"password": "hunter2hunter2"}})
    await ask(store, incident, action=secret, key="once")
    await ask(store, incident, action=secret, key="once")
    found = [e async for e in store.decisions(NOW - timedelta(hours=1), incident=incident.id)]
    (event,) = found
    assert event.data["input"]["action"]["params"] == {"password": "[redacted:by_name]"}
    assert event.data["input"]["schema"] == "cortexops.policy_input/v1"
    assert event.data["input"]["autonomy"]["level"] == "approve"


async def test_another_revision_is_an_audit_row(store: PostgresStore) -> None:
    incident = await opened(store)
    for number, revision in enumerate(("r1", "r1", "r2")):
        await ask(store, incident, Fixed(revision=revision), key=f"k{number}")
    events = [e for e in await store.events(PLATFORM) if e.reason == "policy_revision"]
    assert [e.data["revision"] for e in events] == ["r1", "r2"]


async def test_the_fourth_waits_is_looked_at_again_and_gets_its_turn(store: PostgresStore) -> None:
    rails = Guardrails(limits=RemediationLimits(at_once=1, queued=1))
    first, second, third = [await opened(store, name) for name in ("one", "two", "three")]
    assert (await ask(store, first, rails=rails)).held_until is None
    waiting = await ask(store, second, rails=rails, action=an_action("web"))
    assert waiting.effect is Effect.ALLOW
    assert waiting.held_until is not None
    assert "too_many_remediations" in waiting.reasons[-1]
    full = await ask(store, third, rails=rails, action=an_action("db"))
    assert (full.effect, full.rule) == (Effect.DENY, "limits")
    assert "queue_full" in full.reasons[0]

    records = RecordActivities(store, Fixed(), rails)
    order = ReassessInput(
        incident=second,
        alerts=("PodOOMKilled",),
        entry=an_entry(second.id, reason=Reason.SILENCE_OVER),
        message=a_message(second, "turn"),
    )
    again = await records.reassess(order)
    assert again.until is not None
    assert "too_many_remediations" in again.by
    await ended(store, first)
    assert (await records.reassess(order)).until is None
    assert [e.reason for e in await store.events(second.id)][-1] == Reason.TURN_CAME


async def test_two_incidents_about_one_object_do_not_act_on_it_together(store: PostgresStore) -> None:
    first, second = await opened(store, "one"), await opened(store, "two")
    asking = Fixed(Effect.REQUIRE_APPROVAL)
    assert (await ask(store, first, asking)).held_until is None
    waiting = await ask(store, second, asking)
    assert waiting.held_until is not None
    assert f"target_locked: {first.id}" in waiting.reasons[-1]


async def test_the_shipped_pack_says_observe_and_suggest_itself_and_keeps_its_other_reasons(
    store: PostgresStore,
) -> None:
    policy = RegorusPolicy(shipped_bundle())
    try:
        for level, wanted in ((Level.OBSERVE, ()), (Level.SUGGEST, ("kubectl scale",))):
            rails = Guardrails(ladder=Ladder(default=level))
            incident = await opened(store, level)
            decision = await ask(
                store, incident, policy, rails, commands=("kubectl scale",), namespace="kube-system"
            )
            assert (decision.effect, decision.rule) == (Effect.DENY, "autonomy")
            assert decision.reasons == (*sorted((f"{level}_only", "protected_namespace")), *wanted)
    finally:
        await policy.close()


async def test_the_ladder_rises_and_falls_with_what_really_happened(store: PostgresStore) -> None:
    policy = RegorusPolicy(shipped_bundle())
    try:

        async def effect(key: str) -> Effect:
            return (await ask(store, await opened(store, key), policy, key=key)).effect

        assert await effect("first") is Effect.REQUIRE_APPROVAL
        for number in range(10):
            at = NOW - timedelta(hours=20 - number)
            await changed(store, f"good-{number}", APPLIED, VERIFIED, at=at)
        first = next(iter(await store.incidents(open_only=True)))
        await ended(store, first)
        assert await effect("earned") is Effect.ALLOW
        await changed(store, "bad", APPLIED, BACK, at=NOW - timedelta(hours=1))
        for incident in await store.incidents(open_only=True):
            await ended(store, incident)
        assert await effect("lost") is Effect.REQUIRE_APPROVAL
    finally:
        await policy.close()


async def test_a_decision_seals_the_question_and_the_revision_that_it_rests_on(store: PostgresStore) -> None:
    """Whoever has the row can say whether another question, or another policy, was decided."""
    incident = await opened(store)
    await ask(store, incident, attempt=2)
    (event,) = [e for e in await store.events(incident.id) if e.type is AuditType.POLICY_DECIDED]
    assert event.inputs == digest([event.data["input"], "fixed", "r1"])
    other = {**event.data["input"], "attempt": 3}
    assert event.inputs != digest([other, "fixed", "r1"])
    (revision,) = [e for e in await store.events(PLATFORM) if e.reason == "policy_revision"]
    assert revision.inputs == digest(["fixed", "r1"])


async def test_asked_again_when_people_have_agreed_policy_knows_the_freeze_that_has_begun(
    store: PostgresStore,
) -> None:
    incident = await opened(store)
    freeze = FreezeWindow(name="late", start=NOW + timedelta(minutes=5), end=NOW + timedelta(hours=1))
    policy, rails = RegorusPolicy(shipped_bundle()), Guardrails(freezes=(freeze,))
    try:
        before = await ask(store, incident, policy, rails, key="p1", environment="production")
        later = NOW + timedelta(minutes=6)
        now = await ask(
            store,
            incident,
            policy,
            rails,
            key="p2",
            environment="production",
            asked_at=later,
            confirming=True,
        )
    finally:
        await policy.close()
    assert before.effect is Effect.REQUIRE_APPROVAL
    assert (now.effect, now.rule) == (Effect.DENY, "freeze")
    assert "freeze" in str(withdrawn(before, now))
    events = [e for e in await store.events(incident.id) if e.type is AuditType.POLICY_VIOLATION]
    assert [e.detail.endswith("(asked again, since people had agreed)") for e in events] == [True]


async def test_asked_again_it_does_not_wait_for_its_turn_which_the_change_itself_does(
    store: PostgresStore,
) -> None:
    rails = Guardrails(limits=RemediationLimits(at_once=1, queued=1))
    first, second = [await opened(store, name) for name in ("one", "two")]
    assert (await ask(store, first, rails=rails)).held_until is None
    asked = await ask(store, second, rails=rails, action=an_action("web"), confirming=True)
    assert (asked.effect, asked.held_until) == (Effect.ALLOW, None)


async def test_a_second_try_that_is_answered_otherwise_is_in_the_books_too(store: PostgresStore) -> None:
    incident = await opened(store)
    await ask(store, incident, Fixed(Effect.DENY))
    await ask(store, incident, Fixed(Effect.DENY))
    decision = await ask(store, incident, Fixed(Effect.ALLOW))
    effects = [e.data["effect"] for e in await store.events(incident.id) if "effect" in e.data]
    assert effects == ["deny", decision.effect] == ["deny", "allow"]


async def test_traffic_and_proposer_are_kept_with_the_decision(store: PostgresStore) -> None:
    incident = await opened(store)
    by = ProposedBy(kind=ProposerKind.RUNBOOK, name="api-crash")
    await ask(store, incident, blast_radius=BlastRadius(replicas=3, traffic=41.5), proposed_by=by)
    (event,) = [e for e in await store.events(incident.id) if e.type is AuditType.POLICY_DECIDED]
    assert event.data["input"]["blast_radius"]["traffic"] == 41.5
    assert event.data["input"]["proposed_by"] == {"kind": "runbook", "name": "api-crash"}
