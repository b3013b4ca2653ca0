"""The story of an incident, on a real Temporal server, with a scripted world around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from cortexops.contracts.incident import ADD_SIGNALS, IncidentLimits, SignalBatch
from cortexops.contracts.investigation import Investigated
from cortexops.contracts.remediation import ApplyOutcome, CompensateResult, DryRunResult
from cortexops.domain.approval import Decision, VoteRefusal
from cortexops.domain.audit import AuditType
from cortexops.domain.diagnosis import Verdict
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.message import MessageKind
from cortexops.domain.policy import Effect, PolicyDecision
from cortexops.domain.verification import Phase
from tests.replay.record import held_at_policy, over_before_apply
from tests.support.engines import RunningEngines
from tests.support.stage import Stage, cast, staged
from tests.support.story import a_candidate, a_decision, a_diagnosis, a_signal, resolved

_S = IncidentState


@pytest.fixture
async def stage(engines: RunningEngines, task_queue_prefix: str) -> AsyncIterator[Stage]:
    async with staged(engines.temporal_address, task_queue_prefix) as stage:
        yield stage


async def test_an_allowed_remedy_that_helps_resolves_the_incident(stage: Stage) -> None:
    handle = await stage.begin()
    ended = await handle.result()
    assert ended.state is _S.RESOLVED
    assert ended.reason is Reason.VERIFIED
    assert stage.world.states == [
        _S.DETECTED, _S.INVESTIGATING, _S.POLICY_CHECK, _S.DRY_RUNNING,
        _S.REMEDIATING, _S.VERIFYING, _S.RESOLVED,
    ]  # fmt: skip
    assert stage.world.calls == ["open_incident", "investigate", "decide", "dry_run", "apply", "verify"]
    assert [case.action_type for case in stage.world.cases] == ["adjust_resources"]


async def test_a_remediated_incident_with_approval_and_a_further_delivery_costs_at_most_sixty_events(
    stage: Stage,
) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin()
    request = await stage.asked(handle)
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(a_signal("PodCrashLooping"),)))
    await asyncio.sleep(0.3)  # a task of its own
    await cast(handle, request, "ana")
    assert (await handle.result()).state is _S.RESOLVED
    assert len((await handle.fetch_history()).events) <= 58


async def published(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The states that the Temporal UI could have found the run in."""
    found = []
    for event in (await handle.fetch_history()).events:
        if event.HasField("upsert_workflow_search_attributes_event_attributes"):
            fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
            found.append(json.loads(fields["CortexState"].data))
    return found


async def test_a_policy_check_is_published_only_when_somebody_waits_in_it(stage: Stage) -> None:
    handle = await held_at_policy(stage)
    ended = await handle.result()
    assert ended.state is _S.RESOLVED
    assert await published(handle) == [
        "INVESTIGATING", "POLICY_CHECK", "INVESTIGATING", "DRY_RUNNING", "REMEDIATING", "VERIFYING", "RESOLVED",
    ]  # fmt: skip


async def test_a_run_that_began_before_cases_went_with_the_end_hands_its_case_over(stage: Stage) -> None:
    stage.world.patches = ()
    assert (await (await stage.begin()).result()).state is _S.RESOLVED
    assert stage.world.cases == []
    assert [case.outcome for case in stage.world.remembered] == ["RESOLVED"]


async def test_what_ended_without_a_change_teaches_nothing(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.DENY)]
    assert (await (await stage.begin()).result()).state is _S.DENIED
    assert stage.world.cases == stage.world.remembered == []


async def test_denied_by_policy_ends_at_once_and_touches_nothing(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.DENY, reasons=("protected_namespace",))]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.DENIED, Reason.POLICY_DENIED)
    assert "dry_run" not in stage.world.calls


async def test_an_unreachable_policy_engine_denies_with_its_own_reason(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.DENY, rule="fail_closed", reasons=("policy_unreachable",))]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.DENIED, Reason.POLICY_UNAVAILABLE)


async def test_quorum_counts_distinct_people(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL, quorum=2, roles=("oncall",))]
    handle = await stage.begin()
    request = await stage.asked(handle)
    first = await cast(handle, request, "ana")
    assert (first.approvals, first.quorum) == (1, 2)
    with pytest.raises(WorkflowUpdateFailedError) as twice:
        await cast(handle, request, "ana")
    assert refusal(twice.value) == VoteRefusal.ALREADY_VOTED
    with pytest.raises(WorkflowUpdateFailedError) as wrong:
        await cast(handle, request, "eve", roles=("intern",))
    assert refusal(wrong.value) == VoteRefusal.WRONG_ROLE
    assert stage.world.applied == []
    await cast(handle, request, "bob")
    assert (await handle.result()).state is _S.RESOLVED
    assert [vote.vote.person.id for vote in stage.world.voted] == ["ana", "bob"]
    keys = [vote.entry.idempotency_key for vote in stage.world.voted]  # of who said what, of no number
    run = handle.result_run_id
    assert keys == [f"{run}:{request.id}:ana:approve", f"{run}:{request.id}:bob:approve"]


@pytest.mark.parametrize("decision", [Decision.APPROVE, Decision.DENY])
async def test_nothing_follows_on_a_vote_that_is_not_written_down_yet(
    stage: Stage, decision: Decision
) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    stage.world.gates["record_vote"] = asyncio.Event()
    handle = await stage.begin()
    vote = asyncio.create_task(cast(handle, await stage.asked(handle), "ana", decision))
    async with asyncio.timeout(10):
        while not stage.world.voted:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    assert not vote.done()
    assert (stage.world.settled, stage.world.states[-1]) == ([], _S.APPROVAL_PENDING)
    stage.world.gates["record_vote"].set()
    ended = await handle.result()
    assert ended.state is (_S.RESOLVED if decision is Decision.APPROVE else _S.DENIED)
    assert (await vote).state is stage.world.settled[0].state


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (a_decision(Effect.DENY), "policy denies by now"),
        (a_decision(Effect.REQUIRE_APPROVAL, quorum=2), "policy asks for more by now: 2"),
        (a_decision(Effect.REQUIRE_APPROVAL, revision="another"), "the policy changed while people decided"),
    ],
    ids=["a freeze began", "a higher quorum", "another revision"],
)
async def test_what_is_not_allowed_any_more_when_people_have_agreed_is_looked_at_and_asked_about_again(
    stage: Stage, now: PolicyDecision, why: str
) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL), now, a_decision(Effect.DENY)]
    handle = await stage.begin()
    await cast(handle, await stage.asked(handle), "ana")
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.DENIED, Reason.POLICY_DENIED)
    assert stage.world.applied == []
    (refused,) = [e for e in stage.world.entries if e.type is AuditType.ACTION_REFUSED]
    assert refused.reason == Reason.POLICY_CHANGED
    assert why in refused.detail


async def test_what_policy_allows_by_itself_by_now_is_done_when_people_have_agreed(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL), a_decision(Effect.ALLOW)]
    handle = await stage.begin()
    await cast(handle, await stage.asked(handle), "ana")
    assert (await handle.result()).state is _S.RESOLVED
    assert [order.attempt for order in stage.world.questions] == [1, 1]


async def test_a_vote_in_time_counts_though_it_is_written_down_after_it(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    stage.world.gates["record_vote"] = asyncio.Event()
    handle = await stage.begin(limits=IncidentLimits(approval_seconds=1.5))
    vote = asyncio.create_task(cast(handle, await stage.asked(handle), "ana"))
    await asyncio.sleep(2)
    assert stage.world.settled == []
    stage.world.gates["record_vote"].set()
    assert (await handle.result()).state is _S.RESOLVED
    await vote


async def test_votes_for_another_diff_or_without_identity_do_not_count(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin()
    request = await stage.asked(handle)
    with pytest.raises(WorkflowUpdateFailedError) as other:
        await cast(handle, request, "ana", digest="something else")
    assert refusal(other.value) == VoteRefusal.CHANGED_DIFF
    with pytest.raises(WorkflowUpdateFailedError) as nobody:
        await cast(handle, request, "ana", via="")
    assert refusal(nobody.value) == VoteRefusal.ANONYMOUS
    await cast(handle, request, "ana", Decision.DENY)
    assert (await handle.result()).state is _S.DENIED
    assert stage.world.applied == []


async def test_expired_approval_changes_nothing(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin(limits=IncidentLimits(approval_seconds=0.5))
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.EXPIRED, Reason.APPROVAL_EXPIRED)
    assert stage.world.applied == []
    assert [s.state for s in stage.world.settled] == ["expired"]


async def test_taking_over_escalates_and_stops_automation(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin()
    await cast(handle, await stage.asked(handle), "ana", Decision.TAKE_OVER, roles=())
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.TAKEN_OVER)
    assert stage.world.applied == []


async def test_signals_that_resolve_while_waiting_void_the_approval(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin()
    await stage.asked(handle)
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(resolved(a_signal()),)))
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.RESOLVED, Reason.SIGNALS_RESOLVED)
    assert [s.state for s in stage.world.settled] == ["void"]
    assert stage.world.applied == []


async def test_an_approved_change_is_not_made_once_all_signals_have_stopped_firing(stage: Stage) -> None:
    ended = await (await over_before_apply(stage)).result()
    assert (ended.state, ended.reason) == (_S.RESOLVED, Reason.SIGNALS_RESOLVED)
    assert [s.state for s in stage.world.settled] == ["approved"]
    assert stage.world.applied == []
    assert _S.REMEDIATING not in stage.world.states
    (refused,) = [e for e in stage.world.entries if e.type is AuditType.ACTION_REFUSED]
    assert refused.reason == Reason.SIGNALS_RESOLVED
    assert refused.detail.endswith("was not made: all signals have stopped firing")
    assert stage.world.entries[-1].detail == refused.detail  # people read the same words
    assert stage.world.told[-1] is MessageKind.ENDED


async def test_what_the_last_look_found_over_ends_without_another_investigation(stage: Stage) -> None:
    stage.world.applies = [ApplyOutcome.CHANGED]
    stage.world.gates["record:REMEDIATING"] = asyncio.Event()
    handle = await stage.begin()
    async with asyncio.timeout(10):
        while _S.REMEDIATING not in stage.world.states:
            await asyncio.sleep(0.02)
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(resolved(a_signal()),)))
    stage.world.gates["record:REMEDIATING"].set()
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.RESOLVED, Reason.SIGNALS_RESOLVED)
    assert stage.world.calls.count("investigate") == 1


async def test_a_change_is_made_while_one_of_the_signals_still_fires(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin()
    request = await stage.asked(handle)
    both = (a_signal("HighErrorRate"), resolved(a_signal()))
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=both))
    await cast(handle, request, "ana")
    assert (await handle.result()).reason is Reason.VERIFIED
    assert len(stage.world.applied) == 1


async def test_a_remedy_that_does_not_help_is_undone_and_the_next_one_differs(stage: Stage) -> None:
    both = (a_candidate("adjust_resources"), a_candidate("rollback_rollout", to_revision=3))
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(), candidates=both)]
    stage.world.verifications = [Phase.FAILED, Phase.SUCCESSFUL]
    ended = await (await stage.begin()).result()
    assert ended.state is _S.RESOLVED
    assert ended.attempts == 2
    assert [order.prepared.action.type for order in stage.world.applied] == [
        "adjust_resources",
        "rollback_rollout",
    ]
    assert stage.world.calls.count("compensate") == 1


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.INCONCLUSIVE, Phase.ERROR])
async def test_only_successful_resolves_and_everything_else_is_rolled_back(
    stage: Stage, phase: Phase
) -> None:
    stage.world.verifications = [phase]
    ended = await (await stage.begin()).result()
    assert ended.state is _S.ROLLED_BACK
    assert [(case.outcome, case.action_type) for case in stage.world.cases] == [
        ("ROLLED_BACK", "adjust_resources")
    ]


async def test_a_refused_undo_escalates_with_the_commands(stage: Stage) -> None:
    stage.world.verifications = [Phase.FAILED]
    stage.world.compensations = [
        CompensateResult(
            done=False,
            reason=Reason.COMPENSATION_REFUSED,
            detail="changed by others",
            commands=("kubectl patch …",),
        )
    ]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.COMPENSATION_REFUSED)


async def test_a_missing_permission_shows_in_the_dry_run_and_escalates(stage: Stage) -> None:
    stage.world.dry_runs = [
        DryRunResult(
            ok=False, reason=Reason.DRY_RUN_FORBIDDEN, detail="missing permission: patch deployments"
        )
    ]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.DRY_RUN_FORBIDDEN)
    assert stage.world.applied == []


async def test_an_unknown_effect_escalates(stage: Stage) -> None:
    stage.world.applies = [ApplyOutcome.UNKNOWN]
    ended = await (await stage.begin()).result()
    assert ended.state is _S.ESCALATED
    assert "verify" not in stage.world.calls


async def test_an_object_that_changed_is_looked_at_and_asked_about_again(stage: Stage) -> None:
    stage.world.applies = [ApplyOutcome.CHANGED, ApplyOutcome.APPLIED]
    ended = await (await stage.begin()).result()
    assert ended.state is _S.RESOLVED
    assert stage.world.calls.count("investigate") == 2
    assert stage.world.calls.count("decide") == 2


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Verdict.UNKNOWN, Reason.CAUSE_UNKNOWN),
        (Verdict.EXTERNAL, Reason.CAUSE_EXTERNAL),
        (Verdict.HEALTHY, Reason.NOTHING_WRONG),
    ],
)
async def test_what_is_not_ours_to_mend_is_escalated(stage: Stage, verdict: Verdict, reason: Reason) -> None:
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(verdict), candidates=(a_candidate(),))]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, reason)
    assert "decide" not in stage.world.calls


async def test_an_object_state_that_mended_itself_resolves(stage: Stage) -> None:
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(Verdict.HEALTHY))]
    ended = await (await stage.begin(signal=a_signal(source="kubernetes"))).result()
    assert (ended.state, ended.reason) == (_S.RESOLVED, Reason.NOTHING_WRONG)


async def test_without_a_feasible_remedy_a_person_is_called(stage: Stage) -> None:
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis())]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.NO_FEASIBLE_ACTION)


def refusal(error: WorkflowUpdateFailedError) -> str | None:
    assert isinstance(error.cause, ApplicationError)
    return error.cause.type
