"""What refused a change reaches the person who is called, and a closed request counts no more votes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError

from cortexops.contracts.incident import ADD_SIGNALS, IncidentLimits, SignalBatch
from cortexops.contracts.investigation import Investigated
from cortexops.contracts.remediation import ApplyOutcome, DryRunResult
from cortexops.domain.action import Risk
from cortexops.domain.audit import AuditType
from cortexops.domain.diagnosis import Verdict
from cortexops.domain.ending import none_left, refusals
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.manual_steps import ManualStep
from cortexops.domain.policy import Effect
from cortexops.domain.verification import Phase
from tests.support.engines import RunningEngines
from tests.support.stage import Stage, cast, staged
from tests.support.story import TARGET, a_candidate, a_decision, a_diagnosis, a_signal, resolved

_S = IncidentState
QUOTA = "patch deployments api in namespace shop: exceeded quota: small, limited: limits.memory=1Gi (403)"
BOTH = (a_candidate("adjust_resources"), a_candidate("rollback_rollout", to_revision=3))


@pytest.fixture
async def stage(engines: RunningEngines, task_queue_prefix: str) -> AsyncIterator[Stage]:
    async with staged(engines.temporal_address, task_queue_prefix) as stage:
        yield stage


def last_words(stage: Stage) -> str:
    """What the person who is called is told."""
    (entry,) = [e for e in stage.world.entries if e.type is AuditType.ESCALATED]
    return entry.detail


async def test_a_refusal_by_the_dry_run_is_told_to_whoever_is_called(stage: Stage) -> None:
    stage.world.dry_runs = [DryRunResult(ok=False, reason=Reason.DRY_RUN_REJECTED, detail=QUOTA)]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.NO_FEASIBLE_ACTION)
    assert QUOTA in last_words(stage)
    assert "nothing was changed" in last_words(stage)
    assert "undone" not in last_words(stage)
    assert stage.world.applied == []


async def test_who_is_called_is_told_what_can_be_done_by_hand(stage: Stage) -> None:
    steps = tuple(
        ManualStep(
            type=kind,
            target=TARGET,
            risk=Risk.LOW,
            commands=(f"kubectl {kind} now",),
            caveats=("Look first.",),
        )
        for kind in ("edit", "scale", "third")
    )
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(), by_hand=steps)]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.NO_FEASIBLE_ACTION)
    assert last_words(stage).splitlines()[-6:] == [
        f"By hand: edit {TARGET} (risk low)", "  kubectl edit now", "  Note: Look first.",
        f"By hand: scale {TARGET} (risk low)", "  kubectl scale now", "  Note: Look first.",
    ]  # fmt: skip


async def test_a_cause_outside_comes_with_what_can_be_done_by_hand(stage: Stage) -> None:
    step = ManualStep(type="look", target=TARGET, risk=Risk.LOW, commands=("kubectl get pods",))
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(Verdict.EXTERNAL), by_hand=(step,))]
    assert (await (await stage.begin()).result()).state is _S.ESCALATED
    assert "  kubectl get pods" in last_words(stage).splitlines()


async def test_a_refusal_of_the_change_is_told_and_not_called_tried(stage: Stage) -> None:
    stage.world.applies = [ApplyOutcome.REFUSED]
    ended = await (await stage.begin()).result()
    assert ended.state is _S.ESCALATED
    assert "adjust_resources" in last_words(stage)
    assert "undone" not in last_words(stage)
    assert "verify" not in stage.world.calls


async def test_an_undone_remedy_and_a_refused_one_are_told_apart(stage: Stage) -> None:
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(), candidates=BOTH)]
    stage.world.applies = [ApplyOutcome.APPLIED, ApplyOutcome.REFUSED]
    stage.world.verifications = [Phase.FAILED]
    await (await stage.begin()).result()
    told = [e.detail for e in stage.world.entries if e.reason == Reason.NO_FEASIBLE_ACTION]
    assert told and told[-1].startswith("1 tried and undone; none is left. Refused, nothing was changed: ")
    assert "rollback_rollout" in told[-1]


async def test_what_changed_each_time_is_said_when_the_attempts_are_over(stage: Stage) -> None:
    stage.world.applies = [ApplyOutcome.CHANGED]
    ended = await (await stage.begin(limits=IncidentLimits(max_attempts=2))).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.ATTEMPTS_EXHAUSTED)
    assert "2 attempts did not help. Refused, nothing was changed: adjust_resources" in last_words(stage)
    assert len(stage.world.applied) == 2


@pytest.mark.parametrize("outcome", [ApplyOutcome.UNKNOWN, ApplyOutcome.HANDED_OVER])
async def test_what_cannot_be_told_is_neither_verified_nor_undone_nor_tried_again(
    stage: Stage, outcome: ApplyOutcome
) -> None:
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(), candidates=BOTH)]
    stage.world.applies = [outcome]
    ended = await (await stage.begin()).result()
    assert ended.state is _S.ESCALATED
    assert len(stage.world.applied) == 1
    assert not {"verify", "compensate"} & set(stage.world.calls)


async def test_a_vote_that_comes_while_the_request_is_closed_is_not_said_to_count(stage: Stage) -> None:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    stage.world.gates["settle_approval"] = asyncio.Event()
    handle = await stage.begin()
    request = await stage.asked(handle)
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(resolved(a_signal()),)))
    async with asyncio.timeout(10):
        while not stage.world.settled:
            await asyncio.sleep(0.02)
    voting = asyncio.create_task(cast(handle, request, "ana"))
    await asyncio.sleep(0.3)
    stage.world.gates["settle_approval"].set()
    with pytest.raises((WorkflowUpdateFailedError, RPCError)):  # refused, or aborted with the workflow
        await voting
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.RESOLVED, Reason.SIGNALS_RESOLVED)
    assert stage.world.voted == []
    assert stage.world.applied == []


def test_the_words_of_refusals_are_bounded_and_said_once() -> None:
    assert refusals([]) == ""
    many = refusals([f"{n}: " + "x" * 5000 for n in range(50)] + ["same", "same"])
    assert len(many) < 2100
    assert many.count("same") == 1
    assert none_left(a_diagnosis(), BOTH, 0, ["adjust: no"]).startswith("No remedy is left. Refused")
