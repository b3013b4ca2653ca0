"""The books: incidents, approvals, policy decisions and postmortems, each with its audit event."""

from __future__ import annotations

from temporalio import activity

from activities.deciding import Decider
from activities.errors import for_temporal
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
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.guardrails import Guardrails
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.message import Message
from cortexops.domain.policy import PolicyDecision
from cortexops.domain.postmortem import write_postmortem
from cortexops.metrics import APPROVALS, WORKFLOW_OUTCOMES
from cortexops.ports.policy import PolicyEngine
from cortexops.ports.store import Store

_WITHOUT_POSTMORTEM = (IncidentState.MERGED, IncidentState.SUPPRESSED)
"""The incident that goes on has one; of what ended unseen there is nothing to learn."""


class RecordActivities(Records):
    """Works with the database and the policy engine; knows no cluster."""

    def __init__(self, store: Store, policy: PolicyEngine, guardrails: Guardrails | None = None) -> None:
        self._store = store
        self._decider = Decider(store, policy, guardrails or Guardrails())

    @activity.defn
    async def open_incident(self, order: OpenInput) -> Opened:
        with for_temporal():
            stored = await self._store.open_incident(order.draft, order.signals, order.entry)
        return Opened(**stored.model_dump(), patches=tuple(Patch))

    @activity.defn
    async def record(self, order: RecordInput) -> None:
        with for_temporal():
            if order.settled is not None:
                await self._settle(order.settled)
            await self._store.update_incident(order.incident, order.entries, order.messages)
        if order.settled is not None:  # when all of it is stored: until then it is tried again
            APPROVALS.labels(result=order.settled.state).inc()

    @activity.defn
    async def decide(self, order: DecideInput) -> PolicyDecision:
        await self.record(order.record)
        return await self._decider.decide(order)

    @activity.defn
    async def reassess(self, order: ReassessInput) -> Hold:
        hold = await self._decider.silenced(order.incident, order.alerts)
        waited = False
        if hold.until is None:
            hold, waited = await self._decider.queued(order.incident)
        if hold.until is None:
            entry, message = _its_turn(order) if waited else (order.entry, order.message)
            with for_temporal():
                await self._store.update_incident(order.incident, [entry], [message])
        return hold

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
            await self._settle(order)
        APPROVALS.labels(result=order.state).inc()

    async def _settle(self, order: SettleInput) -> None:
        await self._store.settle_approval(order.approval_id, order.state, order.entry, order.message)

    @activity.defn
    async def close_incident(self, order: CloseInput) -> None:
        incident = order.incident
        await self.record(order)
        with for_temporal():
            if order.case is not None:
                await self._store.add_case(order.case)
            if not incident.drill:
                WORKFLOW_OUTCOMES.labels(state=incident.state).inc()
            if incident.state in _WITHOUT_POSTMORTEM:
                return
            events = await self._store.events(incident.id)
            diagnosis = await self._store.diagnosis(incident.id)
            used = diagnosis is not None and diagnosis.runbook is not None
            rows = await self._store.rows_of(incident.id) if used else ()
            postmortem = write_postmortem(incident, diagnosis, events, rows)
            entry = AuditEntry(
                chain=incident.id,
                type=AuditType.POSTMORTEM,
                reason=incident.reason,
                detail=f"{postmortem.id} is open for review",
                at=incident.updated_at,
                idempotency_key=f"{incident.run_id}:postmortem",
            )
            await self._store.save_postmortem(postmortem, entry)


def _its_turn(order: ReassessInput) -> tuple[AuditEntry, Message]:
    """The entry and the message of an incident that waited for others, not for a silence."""
    text = "Its turn has come; the trouble is still there: " + ", ".join(order.alerts)
    entry = order.entry.model_copy(update={"reason": Reason.TURN_CAME, "detail": text})
    return entry, order.message.model_copy(update={"text": text})
