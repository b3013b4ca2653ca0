"""The books: incidents, approvals, policy decisions and postmortems, each with its audit event."""

from __future__ import annotations

from temporalio import activity

from activities.deciding import Decider
from activities.errors import for_temporal
from activities.writing_up import write_up
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
from cortexops.domain.audit import AuditEntry
from cortexops.domain.guardrails import Guardrails
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.message import Message
from cortexops.domain.policy import PolicyDecision
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
        await self._record(order)
        _count(order.settled)

    async def _record(self, order: RecordInput) -> bool:
        """Whether it was stored: an incident that others have ended is left as it is. Counts nothing, since what
        follows may fail and all of it be tried again."""
        with for_temporal():
            if order.settled is not None:
                await self._settle(order.settled)
            return await self._store.update_incident(order.incident, order.entries, order.messages)

    @activity.defn
    async def decide(self, order: DecideInput) -> PolicyDecision:
        await self._record(order.record)
        decision = await self._decider.decide(order)
        _count(order.record.settled)
        return decision

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
            if not await self._store.update_incident(order.incident, order.entries[:-1], order.messages):
                return  # it has ended: nobody is asked any more
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
        _count(order)

    async def _settle(self, order: SettleInput) -> None:
        await self._store.settle_approval(order.approval_id, order.state, order.entry, order.message)

    @activity.defn
    async def close_incident(self, order: CloseInput) -> None:
        incident = order.incident
        if not await self._record(order):
            return
        with for_temporal():
            if order.case is not None:
                await self._store.add_case(order.case)
            if incident.state not in _WITHOUT_POSTMORTEM:
                await write_up(self._store, incident)
        _count(order.settled)
        if not incident.drill:
            WORKFLOW_OUTCOMES.labels(state=incident.state).inc()


def _count(settled: SettleInput | None) -> None:
    """Count how an approval ended, once everything is stored."""
    if settled is not None:
        APPROVALS.labels(result=settled.state).inc()


def _its_turn(order: ReassessInput) -> tuple[AuditEntry, Message]:
    """The entry and the message of an incident that waited for others, not for a silence."""
    text = "Its turn has come; the trouble is still there: " + ", ".join(order.alerts)
    entry = order.entry.model_copy(update={"reason": Reason.TURN_CAME, "detail": text})
    return entry, order.message.model_copy(update={"text": text})
