"""The books: incidents, approvals, policy decisions and postmortems, each with its audit event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio import activity

from activities.errors import for_temporal
from cortexops.contracts.records import (
    AskInput,
    DecideInput,
    Hold,
    OpenInput,
    ReassessInput,
    RecordInput,
    Records,
    SettleInput,
    VoteInput,
)
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.policy import Effect, PolicyDecision
from cortexops.domain.postmortem import write_postmortem
from cortexops.domain.silence import held_until, who_holds
from cortexops.metrics import APPROVALS, POLICY_DECISIONS, WORKFLOW_OUTCOMES
from cortexops.ports.policy import PolicyEngine
from cortexops.ports.store import Store

_WITHOUT_POSTMORTEM = (IncidentState.MERGED, IncidentState.SUPPRESSED)
"""The incident that goes on has one; of what ended unseen there is nothing to learn."""


class RecordActivities(Records):
    """Works with the database and the policy engine; knows no cluster."""

    def __init__(self, store: Store, policy: PolicyEngine) -> None:
        self._store = store
        self._policy = policy

    @activity.defn
    async def open_incident(self, order: OpenInput) -> Incident:
        with for_temporal():
            return await self._store.open_incident(order.draft, order.signals, order.entry)

    @activity.defn
    async def record(self, order: RecordInput) -> None:
        with for_temporal():
            await self._store.update_incident(order.incident, order.entries, order.messages)

    @activity.defn
    async def decide(self, order: DecideInput) -> PolicyDecision:
        question = order.question
        await self.record(order.record)
        decision = await self._policy.evaluate(question)
        denied = decision.effect is Effect.DENY
        entry = AuditEntry(
            chain=question.incident_id,
            type=AuditType.POLICY_VIOLATION if denied else AuditType.POLICY_DECIDED,
            reason=decision.rule or decision.effect,
            detail=f"{decision.effect}: {question.action}: {', '.join(decision.reasons)}",
            at=question.now,
            data={
                "effect": decision.effect,
                "reasons": list(decision.reasons),
                "rule": decision.rule,
                "quorum": decision.quorum,
                "revision": decision.revision,
                "engine": decision.engine,
                "input": question.document(),
            },
            idempotency_key=order.idempotency_key,
        )
        with for_temporal():
            await self._store.append([entry])
        POLICY_DECISIONS.labels(effect=decision.effect).inc()
        if denied:
            return decision
        hold = await self._hold(order.record.incident, order.alerts)
        return decision.model_copy(
            update={"held_until": hold.until, "reasons": (*decision.reasons, hold.by)} if hold.until else {}
        )

    @activity.defn
    async def reassess(self, order: ReassessInput) -> Hold:
        hold = await self._hold(order.incident, order.alerts)
        if hold.until is None:
            with for_temporal():
                await self._store.update_incident(order.incident, [order.entry], [order.message])
        return hold

    async def _hold(self, incident: Incident, alerts: Sequence[str]) -> Hold:
        now = datetime.now(UTC)
        with for_temporal():
            silences = await self._store.silences_in_force(now)
        held = held_until(silences, incident.resource, alerts, now)
        if held is None:
            return Hold()
        until, silence = held
        return Hold(until=until, by=who_holds(silence))

    @activity.defn
    async def ask_approval(self, order: AskInput) -> None:
        with for_temporal():
            await self._store.update_incident(order.incident, order.entries[:-1], order.messages)
            await self._store.request_approval(order.request, order.entries[-1], order.asking)
        APPROVALS.labels(result="requested").inc()

    @activity.defn
    async def record_vote(self, order: VoteInput) -> None:
        with for_temporal():
            await self._store.record_vote(order.vote, order.entry)

    @activity.defn
    async def settle_approval(self, order: SettleInput) -> None:
        with for_temporal():
            await self._store.settle_approval(order.approval_id, order.state, order.entry, order.message)
        APPROVALS.labels(result=order.state).inc()

    @activity.defn
    async def close_incident(self, order: RecordInput) -> None:
        incident = order.incident
        with for_temporal():
            await self._store.update_incident(incident, order.entries, order.messages)
            if not incident.drill:
                WORKFLOW_OUTCOMES.labels(state=incident.state).inc()
            if incident.state in _WITHOUT_POSTMORTEM:
                return
            events = await self._store.events(incident.id)
            diagnosis = await self._store.diagnosis(incident.id)
            postmortem = write_postmortem(incident, diagnosis, events)
            entry = AuditEntry(
                chain=incident.id,
                type=AuditType.POSTMORTEM,
                reason=incident.reason,
                detail=f"{postmortem.id} is open for review",
                at=incident.updated_at,
                idempotency_key=f"{incident.run_id}:postmortem",
            )
            await self._store.save_postmortem(postmortem, entry)
