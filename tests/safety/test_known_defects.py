"""Ways in which automation of this kind has gone wrong elsewhere, each held here by a test.

What other tests hold already (audit rows that cannot be changed, ids of two writers, one breaker for each provider,
503 instead of a swallowed signal, an approver named in a body) is not repeated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio import activity
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from activities.health import watch_health
from cortexops.adapters.policy import shipped_bundle
from cortexops.adapters.policy_regorus import RegorusPolicy
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.incident import IncidentLimits
from cortexops.contracts.records import AskInput, DecideInput, SettleInput, VoteInput
from cortexops.contracts.remediation import DryRunResult
from cortexops.domain.approval import (
    ApprovalRequest,
    ApprovalState,
    Decision,
    Person,
    Vote,
    VoteRefusal,
    refuse,
    tally,
)
from cortexops.domain.autonomy import Ladder, Level
from cortexops.domain.correlation import EndedIncident, decide_group
from cortexops.domain.errors import InvalidInput
from cortexops.domain.guardrails import Guardrails
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.people import People
from cortexops.domain.policy import Effect, PolicyDecision
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.signal import SignalFate
from cortexops.domain.verification import Limits, Phase
from cortexops.settings import load_settings
from tests.autonomy.support import ask
from tests.support import stage as staging
from tests.support.engines import RunningEngines
from tests.support.postgres import opened
from tests.support.stage import Stage, cast, staged
from tests.support.story import World, a_decision, a_signal

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
_S = IncidentState


class Broken(World):
    """A store that cannot keep a request for approval, or a decision."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Any] = []
        self.broken = "ask"

    def _fail(self, what: str) -> None:
        if what == self.broken and self.failures:
            raise self.failures.pop(0)

    @activity.defn
    async def ask_approval(self, order: AskInput) -> None:
        self._fail("ask")
        self.asked.append(order)

    @activity.defn
    async def record_vote(self, order: VoteInput) -> None:
        self._fail("vote")
        await super().record_vote(order)

    @activity.defn
    async def settle_approval(self, order: SettleInput) -> None:
        self._fail("settle")
        await super().settle_approval(order)

    @activity.defn
    async def decide(self, order: DecideInput) -> PolicyDecision:
        self._fail("decide")
        decision: PolicyDecision = await super().decide(order)
        return decision


@pytest.fixture
async def broken(
    engines: RunningEngines, task_queue_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Stage, Broken]]:
    monkeypatch.setattr(staging, "World", Broken)
    async with staged(engines.temporal_address, task_queue_prefix) as stage:
        world = stage.world
        assert isinstance(world, Broken)
        world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
        yield stage, world


async def test_a_request_that_cannot_be_kept_is_no_approval(broken: tuple[Stage, Broken]) -> None:
    """Elsewhere: an error while a request was made was logged, and the change was made without one."""
    stage, world = broken
    world.failures = [ApplicationError("the store refuses it", non_retryable=True)]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.APPROVAL_UNAVAILABLE)
    assert world.applied == []
    assert "the store refuses it" in world.entries[-1].detail


async def test_a_vote_that_cannot_be_kept_does_not_count(broken: tuple[Stage, Broken]) -> None:
    stage, world = broken
    world.broken, world.failures = "vote", [ApplicationError("the store refuses it", non_retryable=True)]
    handle = await stage.begin(limits=IncidentLimits(approval_seconds=2))
    request = await stage.asked(handle)
    with pytest.raises(WorkflowUpdateFailedError) as told:
        await cast(handle, request, "ana")
    assert "the store refuses it" in str(told.value.__cause__)
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.EXPIRED, Reason.APPROVAL_EXPIRED)
    assert world.applied == []


@pytest.mark.parametrize("decision", [Decision.APPROVE, Decision.DENY])
async def test_an_approval_whose_end_cannot_be_kept_changes_nothing_and_says_so(
    broken: tuple[Stage, Broken], decision: Decision
) -> None:
    stage, world = broken
    world.broken, world.failures = "settle", [ApplicationError("the store refuses it", non_retryable=True)]
    handle = await stage.begin()
    await cast(handle, await stage.asked(handle), "ana", decision)
    ended = await handle.result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.APPROVAL_UNAVAILABLE)
    assert world.applied == []
    assert _S.REMEDIATING not in world.states
    assert "the store refuses it" in world.entries[-1].detail


async def test_a_store_that_is_away_for_a_moment_is_waited_for_and_people_are_still_asked(
    broken: tuple[Stage, Broken],
) -> None:
    stage, world = broken
    world.failures = [ApplicationError("away"), ApplicationError("away")]
    handle = await stage.begin()
    request = await stage.asked(handle)
    assert world.applied == []
    await cast(handle, request, "ana")
    assert (await handle.result()).state is _S.RESOLVED
    assert len(world.applied) == 1


async def test_a_decision_that_cannot_be_had_is_no_permission(broken: tuple[Stage, Broken]) -> None:
    stage, world = broken
    world.broken = "decide"
    world.failures = [ApplicationError("the books refuse it", non_retryable=True)]
    ended = await (await stage.begin()).result()
    assert (ended.state, ended.reason) == (_S.ESCALATED, Reason.POLICY_UNAVAILABLE)
    assert world.applied == []
    assert "dry_run" not in world.calls


@pytest.mark.parametrize(
    "reason",
    [Reason.DRY_RUN_REJECTED, Reason.DRY_RUN_FORBIDDEN, Reason.OBJECT_GONE, Reason.OBJECT_CHANGED],
)
async def test_a_dry_run_that_failed_is_never_followed_by_the_change(
    broken: tuple[Stage, Broken], reason: Reason
) -> None:
    """Elsewhere: the state was set to aborted, and the same pass went on to apply."""
    stage, world = broken
    world.decisions = [a_decision(Effect.ALLOW)]
    world.dry_runs = [DryRunResult(ok=False, reason=reason, detail="no: the server said so")]
    ended = await (await stage.begin()).result()
    assert ended.state is _S.ESCALATED
    assert world.applied == []
    assert "the server said so" in world.entries[-1].detail


@pytest.fixture
async def shipped() -> AsyncIterator[RegorusPolicy]:
    policy = RegorusPolicy(shipped_bundle())
    yield policy
    await policy.close()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"confidence": 0.1}, "confidence_too_low"),
        ({"verdict": "unknown"}, "no_cause_to_mend"),
        ({"namespace": "kube-system"}, ""),
    ],
)
async def test_automatic_mode_skips_no_rule(
    store: PostgresStore, shipped: RegorusPolicy, fields: dict[str, Any], reason: str
) -> None:
    """Elsewhere: what was allowed to act by itself was not asked about its confidence any more."""
    auto = Guardrails(ladder=Ladder(default=Level.AUTO))
    good = await ask(store, await opened(store, "good"), shipped, auto, environment="staging", key="a")
    assert good.effect is Effect.ALLOW
    incident = await opened(store, "bad")
    found = await ask(store, incident, shipped, auto, environment="staging", key="b", **fields)
    assert found.effect is Effect.DENY
    assert reason in " ".join(found.reasons)


@pytest.mark.parametrize("start", ["next tuesday", "", "2026-13-01T00:00:00Z", None, {"weekday": 1}])
def test_a_freeze_that_cannot_be_read_is_refused_and_never_open(start: Any) -> None:
    """Elsewhere: a change window that could not be parsed counted as open."""
    freeze = {"name": "x", "start": start, "end": "2026-01-03T00:00:00Z"}
    with pytest.raises(InvalidInput, match="freezes"):
        load_settings(policy={"freezes": [freeze]})


def a_request(**changes: Any) -> ApprovalRequest:
    base: dict[str, Any] = {
        "id": "INC-1-approval-1", "incident_id": "INC-1", "action": "scale", "cause": "c", "confidence": 0.9,
        "risk": "low", "diff": (), "digest": "d", "policy_reasons": (), "rule": "r", "quorum": 1,
        "roles": ("sre-lead",), "blast_radius": "1", "requested_at": NOW,
        "expires_at": NOW + timedelta(minutes=15),
    }  # fmt: skip
    return ApprovalRequest(**{**base, **changes})


def a_vote(*roles: str, person: str = "eve", **changes: Any) -> Vote:
    base: dict[str, Any] = {
        "approval_id": "INC-1-approval-1",
        "person": Person(id=person, roles=roles, via="token"),
        "decision": Decision.APPROVE,
        "digest": "d",
    }
    return Vote(**{**base, **changes})


@given(st.sampled_from(["sre", "lead", "sre-lead2", "@sre-lead", "SRE-LEAD", " sre-lead", "re-lea", "*", ""]))
def test_a_role_is_a_whole_word_and_never_a_part_of_one(role: str) -> None:
    """Elsewhere: a group matched whoever had its name somewhere in theirs."""
    assert refuse(a_request(), [], a_vote(role), now=NOW) is VoteRefusal.WRONG_ROLE
    assert tally(a_request(), [a_vote(role)], now=NOW) is ApprovalState.PENDING


def test_where_nobody_is_configured_nobody_may_approve() -> None:
    """Elsewhere: an empty list meant anybody."""
    people = People(())
    for said in ("", "ana", "U0ANA", "admin", "*"):
        assert people.by_token(said) is None
        assert people.by_slack(said) is None
        assert people.by_id(said, via="web") is None
    unknown = a_vote("sre-lead").model_copy(update={"person": Person(id="eve", roles=("sre-lead",))})
    assert refuse(a_request(), [], unknown, now=NOW) is VoteRefusal.ANONYMOUS
    assert tally(a_request(), [unknown], now=NOW) is ApprovalState.PENDING


@given(st.integers(min_value=2, max_value=5), st.integers(min_value=1, max_value=20))
def test_one_person_is_one_however_often_they_vote(quorum: int, times: int) -> None:
    """Elsewhere: the quorum counted decisions, and one call was enough."""
    votes = [a_vote("sre-lead") for _ in range(times)]
    assert tally(a_request(quorum=quorum), votes, now=NOW) is ApprovalState.PENDING


@given(st.integers(min_value=-3600, max_value=3600))
def test_the_time_that_a_vote_claims_decides_nothing(claimed: int) -> None:
    """The workflow's clock does; a voter's or a console's may be wrong."""
    request = a_request()
    vote = a_vote("sre-lead", at=NOW + timedelta(seconds=claimed))
    assert refuse(request, [], vote, now=NOW) is None
    assert refuse(request, [], vote, now=request.expires_at) is VoteRefusal.EXPIRED


@given(
    st.sampled_from([state for state in IncidentState if state.final and state is not _S.RESOLVED]),
    st.integers(min_value=5, max_value=50),
    st.floats(min_value=10.01, max_value=600),
)
def test_what_nobody_works_on_is_never_silenced(state: IncidentState, repeats: int, minutes: float) -> None:
    """Elsewhere: five equal reports with nobody at work on them were suppressed."""
    ended = EndedIncident("INC-1", state, NOW - timedelta(minutes=minutes))
    signals = [a_signal(started_at=NOW + timedelta(seconds=n)) for n in range(repeats)]
    found = decide_group(signals, opened=None, ended=ended, known={}, now=NOW)
    assert found.deliver
    fates = [fate.fate for fate in found.fates.values()]
    assert fates.count(SignalFate.STARTED) == 1
    assert SignalFate.SUPPRESSED not in fates


class _Repeating:
    """A cluster that is asked the same again and again, and changes meanwhile."""

    name = "c"

    def __init__(self, ready: list[str]) -> None:
        self.ready, self.asked = ready, 0

    async def get(self, kind: str, namespace: str, name: str) -> JSON:
        state = self.ready[min(self.asked, len(self.ready) - 1)]
        self.asked += 1
        return {
            "metadata": {"name": name, "uid": "u"},
            "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": state}]},
        }


@pytest.mark.parametrize(
    ("ready", "phase"),
    [(["True", "True", "True"], Phase.SUCCESSFUL), (["True", "True", "False"], Phase.FAILED)],
)
async def test_verification_asks_the_same_question_again_and_believes_the_newest_answer(
    ready: list[str], phase: Phase
) -> None:
    """Elsewhere: a question asked before was refused as a repetition, whatever had changed since."""
    cluster: Any = _Repeating(ready)
    node = ResourceRef(cluster="c", kind="Node", namespace="", name="n1")
    limits = Limits(window=2, stable_for=0.3, interval=0.02)
    verdict = await watch_health(cluster, [node], limits, since=datetime.now(UTC))
    assert verdict.phase is phase, verdict.detail
    assert cluster.asked >= 3
