"""A scripted world for workflow tests: activities answer what the test says and note what they were asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from cortexops.contracts.investigation import Investigated, InvestigateInput, Investigation
from cortexops.contracts.reasoning import KeepInput, MoreInput, Reasoning, ThinkInput
from cortexops.contracts.records import (
    AskInput,
    CloseInput,
    DecideInput,
    Hold,
    Opened,
    OpenInput,
    Patch,
    ReassessInput,
    RecordInput,
    Records,
    SettleInput,
    VoteInput,
)
from cortexops.contracts.remediation import (
    ApplyInput,
    ApplyOutcome,
    ApplyResult,
    CompensateInput,
    CompensateResult,
    DryRunInput,
    DryRunResult,
    Remediation,
    VerifyInput,
)
from cortexops.domain.action import Action, Candidate, Prepared, Risk
from cortexops.domain.audit import AuditEntry
from cortexops.domain.case import Case
from cortexops.domain.change import Change, DiffLine, FieldEdit, Preview, Verb
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.message import MessageKind
from cortexops.domain.policy import Effect, PolicyDecision, PolicyInput
from cortexops.domain.reasoning import Thought
from cortexops.domain.reasoning_answers import (
    EvidenceRequest,
    ExplainAnswer,
    ExtractAnswer,
    Gathered,
    NarrateAnswer,
    RankAnswer,
)
from cortexops.domain.reasoning_use import Claim, Outcome, Spent, Stage
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity, Signal, SignalStatus
from cortexops.domain.verification import Phase, Verification

TARGET = ResourceRef(cluster="test", kind="Deployment", namespace="shop", name="api")
LIMIT = "/spec/template/spec/containers/0/resources/limits/memory"


def a_signal(name: str = "PodOOMKilled", **changes: Any) -> Signal:
    base: dict[str, Any] = {
        "source": "alertmanager",
        "cluster": "test",
        "name": name,
        "severity": Severity.HIGH,
        "resource": TARGET,
        "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return Signal(**{**base, **changes}).sealed()


def resolved(signal: Signal) -> Signal:
    return signal.model_copy(update={"status": SignalStatus.RESOLVED, "ended_at": datetime.now(UTC)})


def a_diagnosis(verdict: Verdict = Verdict.ROOT_CAUSE) -> Diagnosis:
    hypothesis = Hypothesis(
        resource=TARGET,
        category=Category.OOM_LIMIT_TOO_LOW,
        summary="api is killed at its limit",
        support=Support(direct=1),
        container="api",
        confidence=0.9,
    )
    hypotheses = () if verdict in (Verdict.HEALTHY, Verdict.UNKNOWN) else (hypothesis,)
    return Diagnosis(target=TARGET, verdict=verdict, hypotheses=hypotheses)


def a_candidate(type_: str = "adjust_resources", **params: Any) -> Candidate:
    return Candidate(
        action=Action(type=type_, target=TARGET, params=params or {"memory_limit": "1Gi"}),
        risk=Risk.MEDIUM,
        feasible=True,
        why="it is killed at its limit",
        expected_effect=0.8,
    )


def a_decision(effect: Effect, **changes: Any) -> PolicyDecision:
    base: dict[str, Any] = {
        "effect": effect,
        "reasons": ("test",),
        "rule": "test",
        "revision": "r1",
        "quorum": 1,
    }
    return PolicyDecision(**{**base, **changes})


_GOOD = Claim(text="it is killed at its limit", cites=("e1",))


def a_thought(stage: Stage, round: int) -> Thought:
    """What a helpful model says; in the first round it asks for more."""
    more = EvidenceRequest(collector="status", object="o1", container="", previous=False, lines=1)
    answers: dict[Stage, Any] = {
        Stage.EXTRACT: ExtractAnswer(facts=(_GOOD,)),
        Stage.RANK: RankAnswer(order=("h1",), shifts=(), requests=(more,) if round == 1 else ()),
        Stage.EXPLAIN: ExplainAnswer(hypothesis="h1", cause=_GOOD, whys=()),
        Stage.NARRATE: NarrateAnswer(sentences=(_GOOD,)),
    }
    spent = Spent(calls=1, tokens_in=500, tokens_out=50, cost=0.001)
    return Thought(outcome=Outcome.ANSWERED, answer=answers[stage], spent=spent, model="small")


class World(Records, Investigation, Remediation, Reasoning):
    """Each list holds the answers in order; the last one is repeated."""

    def __init__(self) -> None:
        self.investigations = [Investigated(diagnosis=a_diagnosis(), candidates=(a_candidate(),))]
        self.decisions = [a_decision(Effect.ALLOW)]
        self.dry_runs: list[DryRunResult] = []
        self.applies: list[ApplyOutcome] = [ApplyOutcome.APPLIED]
        self.verifications = [Phase.SUCCESSFUL]
        self.compensations = [
            CompensateResult(done=True, reason=Reason.COMPENSATED, detail="undone", healthy=False)
        ]
        self.gates: dict[str, asyncio.Event] = {}  # activities that wait until they are let through
        self.born: dict[str, Any] = {}  # what the store adds to a new incident
        self.holds = [Hold()]
        self.freed: list[ReassessInput] = []
        self.entries: list[AuditEntry] = []
        self.told: list[MessageKind] = []
        self.calls: list[str] = []
        self.states: list[IncidentState] = []
        self.reasons: list[str] = []
        self.asked: list[AskInput] = []
        self.settled: list[SettleInput] = []
        self.voted: list[VoteInput] = []
        self.cases: list[Case] = []  # that memory is to keep
        self.remembered: list[Case] = []  # by the activity of runs that began without `patches`
        self.patches: tuple[str, ...] = tuple(Patch)
        self.applied: list[ApplyInput] = []
        self.ended: Incident | None = None
        self.thoughts: list[Thought] = []  # the model's first answers; then helpful ones
        self.kept: list[Diagnosis] = []
        self.questions: list[PolicyInput] = []

    async def _gate(self, name: str) -> None:
        if name in self.gates:
            await self.gates[name].wait()

    def _next(self, answers: list[Any], name: str) -> Any:
        self.calls.append(name)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    @activity.defn
    async def open_incident(self, order: OpenInput) -> Opened:
        self.calls.append("open_incident")
        self.states.append(order.draft.state)
        known = {**order.draft.model_dump(), "id": "INC-20260102-001", **self.born}
        return Opened(**known, patches=self.patches)

    @activity.defn
    async def reassess(self, order: ReassessInput) -> Hold:
        hold: Hold = self._next(self.holds, "reassess")
        self.freed += [order] if hold.until is None else []
        return hold

    @activity.defn
    async def record(self, order: RecordInput) -> None:
        if order.settled is not None:
            await self.settle_approval(order.settled)
        self.states.append(order.incident.state)
        self.reasons += [entry.reason for entry in order.entries]
        self.entries += order.entries
        self.told += [message.kind for message in order.messages]
        await self._gate(f"record:{order.incident.state}")

    @activity.defn
    async def decide(self, order: DecideInput) -> PolicyDecision:
        await self.record(order.record)
        self.questions.append(order.question)
        decision: PolicyDecision = self._next(self.decisions, "decide")
        return decision

    @activity.defn
    async def ask_approval(self, order: AskInput) -> None:
        self.states.append(order.incident.state)
        self.asked.append(order)

    @activity.defn
    async def record_vote(self, order: VoteInput) -> None:
        self.voted.append(order)
        await self._gate("record_vote")

    @activity.defn
    async def settle_approval(self, order: SettleInput) -> None:
        self.settled.append(order)
        await self._gate("settle_approval")

    @activity.defn
    async def close_incident(self, order: CloseInput) -> None:
        await self.record(order)
        self.ended = order.incident
        self.cases += [order.case] if order.case is not None else []

    @activity.defn
    async def investigate(self, question: InvestigateInput) -> Investigated:
        found: Investigated = self._next(self.investigations, "investigate")
        await self._gate("investigate")
        return found

    @activity.defn
    async def remember(self, case: Case) -> bool:
        self.remembered.append(case)
        return True

    @activity.defn
    async def think(self, question: ThinkInput) -> Thought:
        self.calls.append(f"think:{question.ask.stage}")
        if self.thoughts:
            return self.thoughts.pop(0)
        return a_thought(question.ask.stage, question.ask.round)

    @activity.defn
    async def more_evidence(self, question: MoreInput) -> Gathered:
        self.calls.append("more_evidence")
        return Gathered()

    @activity.defn
    async def keep_diagnosis(self, order: KeepInput) -> None:
        self.kept.append(order.diagnosis)

    @activity.defn
    async def dry_run(self, question: DryRunInput) -> DryRunResult:
        if self.dry_runs:
            answer: DryRunResult = self._next(self.dry_runs, "dry_run")
            return answer
        self.calls.append("dry_run")
        edit = FieldEdit(path=LIMIT, before="512Mi", after="1Gi")
        change = Change(verb=Verb.PATCH, target=TARGET, uid="u1", generation=3, edits=(edit,))
        preview = Preview(
            diff=(DiffLine(path=LIMIT, before='"512Mi"', after='"1Gi"'),), generation=3, uid="u1"
        )
        return DryRunResult(
            ok=True,
            reason=Reason.DRY_RUN_PASSED,
            prepared=Prepared(action=question.action, change=change, expected_replicas=3),
            preview=preview,
            digest=preview.approval_digest(question.policy_revision),
        )

    @activity.defn
    async def apply(self, order: ApplyInput) -> ApplyResult:
        self.applied.append(order)
        outcome = self._next(self.applies, "apply")
        return ApplyResult(outcome=outcome, reason=Reason.APPLIED, detail="done", operation_id="op")

    @activity.defn
    async def verify(self, question: VerifyInput) -> Verification:
        phase = self._next(self.verifications, "verify")
        await self._gate("verify")
        return Verification(phase=phase, measurements=(), detail=f"verification {phase}", seconds=1)

    @activity.defn
    async def compensate(self, order: CompensateInput) -> CompensateResult:
        result: CompensateResult = self._next(self.compensations, "compensate")
        return result

    @property
    def everything(self) -> list[Any]:
        return [
            self.open_incident, self.record, self.decide, self.reassess, self.ask_approval, self.record_vote,
            self.settle_approval, self.close_incident, self.investigate, self.remember, self.dry_run,
            self.apply, self.verify, self.compensate, self.think, self.more_evidence, self.keep_diagnosis,
        ]  # fmt: skip
