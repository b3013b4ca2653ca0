"""A decision: what is known is put into the question, policy answers, and the product's guardrails hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from activities.errors import for_temporal
from cortexops.contracts.records import DecideInput, Hold
from cortexops.domain.audit import PLATFORM, AuditEntry, AuditType, resting
from cortexops.domain.autonomy import Place, assess, override_for
from cortexops.domain.errors import CortexError, TemporaryError
from cortexops.domain.guardrails import (
    HISTORY_DAYS,
    Guardrails,
    denied_by,
    guarded,
    history_of,
    notices,
    waits,
)
from cortexops.domain.ids import digest
from cortexops.domain.incident import Incident
from cortexops.domain.limits import LOOK_AGAIN, RULE, Entry, Phase
from cortexops.domain.policy import Effect, PolicyDecision, PolicyInput, denied
from cortexops.domain.silence import held_until, who_holds
from cortexops.domain.switch import stopping
from cortexops.metrics import POLICY_DECISIONS
from cortexops.ports.policy import PolicyEngine
from cortexops.ports.store import AuditStore, SilenceStore
from cortexops.ports.switches import ControlStore
from cortexops.telemetry import get_logger

UNKNOWN = "context_unavailable"
"""Reason of the denial when stops, levels or history cannot be read."""
_SECOND_TRY = 0.5
_log = get_logger(__name__)


class DecidingStore(ControlStore, SilenceStore, AuditStore, Protocol):
    """What deciding needs of the store."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Decider:
    """Asks policy with everything that is known, and keeps the decision."""

    def __init__(
        self,
        store: DecidingStore,
        policy: PolicyEngine,
        guardrails: Guardrails,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._policy = policy
        self._rails = guardrails
        self._clock = clock

    async def decide(self, order: DecideInput) -> PolicyDecision:
        """The decision, recorded. Fails closed: what cannot be looked up or answered is a denial; while not
        even that can be written down the activity fails, and nothing is done meanwhile."""
        question = order.question
        try:
            question = await self._enriched(question)
            answer = await self._policy.evaluate(question)
            decision = guarded(question, answer)
        except CortexError as error:
            _log.error("policy was not asked: the context cannot be read", error=str(error))
            answer = decision = denied(UNKNOWN)
        hold = Hold()
        if decision.effect is not Effect.DENY and not order.confirming:
            hold = await self.silenced(order.record.incident, order.alerts)
            if hold.until is None:
                decision = await self._admitted(question, decision)
        await self._keep(order, question, answer, decision)
        if hold.until is None:
            return decision
        return waits(decision, hold.until, hold.by)

    async def silenced(self, incident: Incident, alerts: Sequence[str]) -> Hold:
        """Whether a silence holds the incident."""
        now = self._clock()
        with for_temporal():
            silences = await self._store.silences_in_force(now)
        held = held_until(silences, incident.resource, alerts, now)
        if held is None:
            return Hold()
        until, silence = held
        return Hold(until=until, by=who_holds(silence))

    async def queued(self, incident: Incident) -> tuple[Hold, bool]:
        """Whether a limit still holds the incident, and whether it waited for one at all."""
        with for_temporal():
            mine = [slot for slot in await self._store.slots() if slot.incident_id == incident.id]
            if not mine or mine[0].phase is not Phase.WAITING:
                return Hold(), False
            found = await self._store.admit(incident.id, mine[0].target, mine[0].wants, self._rails.limits)
        if found.entry is not Entry.WAIT:
            return Hold(), True
        return Hold(until=found.at + LOOK_AGAIN, by=f"{RULE}: {found.reason}: {found.detail}"), True

    async def _enriched(self, question: PolicyInput) -> PolicyInput:
        try:
            return await self._looked_up(question)
        except TemporaryError:
            await asyncio.sleep(_SECOND_TRY)  # a lost connection is replaced; a server that is away is not
            return await self._looked_up(question)

    async def _looked_up(self, question: PolicyInput) -> PolicyInput:
        now = self._clock()
        place = Place.of(question.action)
        ladder = self._rails.ladder
        stops = stopping(await self._store.stops_in_force(now), question.action)
        override = override_for(await self._store.overrides(), place, now)
        outcomes = await self._store.outcomes(
            now - timedelta(days=max(ladder.window_days, HISTORY_DAYS)),
            cluster=place.cluster,
            namespace=place.namespace,
            action=place.action,
        )
        here = [outcome for outcome in outcomes if outcome.workload == place.workload]
        recent = [outcome for outcome in outcomes if outcome.at >= now - timedelta(days=HISTORY_DAYS)]
        return question.model_copy(
            update={
                "autonomy": assess(here, question.environment, ladder, now, override),
                "history": history_of(recent, place),
                "stops": notices(stops),
                "freezes": self._rails.freezes,
            }
        )

    async def _admitted(self, question: PolicyInput, decision: PolicyDecision) -> PolicyDecision:
        """The decision, or that it has to wait for others, or that there are too many."""
        wants = Phase.RUNNING if decision.effect is Effect.ALLOW else Phase.ASKING
        with for_temporal():
            found = await self._store.admit(
                question.incident_id, question.action.target.key, wants, self._rails.limits
            )
        if found.entry is Entry.REFUSED:
            return denied_by(decision, RULE, f"{found.reason}: {found.detail}")
        if found.entry is Entry.WAIT:
            return waits(decision, found.at + LOOK_AGAIN, f"{RULE}: {found.reason}: {found.detail}")
        return decision

    async def _keep(
        self, order: DecideInput, question: PolicyInput, answer: PolicyDecision, decision: PolicyDecision
    ) -> None:
        refused = decision.effect is Effect.DENY
        asked = question.redacted()
        entry = AuditEntry(
            chain=question.incident_id,
            type=AuditType.POLICY_VIOLATION if refused else AuditType.POLICY_DECIDED,
            reason=decision.rule or decision.effect,
            detail=f"{decision.effect}: {question.action}: {', '.join(decision.reasons)}"
            + (" (asked again, since people had agreed)" if order.confirming else ""),
            at=question.now,
            data={
                "effect": decision.effect,
                "reasons": list(decision.reasons),
                "rule": decision.rule,
                "quorum": decision.quorum,
                "revision": decision.revision,
                "engine": decision.engine,
                "answer": _said(answer),
                "input": asked,
            },
            idempotency_key=f"{order.idempotency_key}:{_mark(decision)}",
        )
        with for_temporal():
            await self._store.append([resting(entry, asked, answer.engine, answer.revision)])
            if answer.revision:
                await self._store.note_revision(
                    answer.engine,
                    answer.revision,
                    revision_entry(answer.engine, answer.revision, self._clock()),
                )
        POLICY_DECISIONS.labels(effect=decision.effect).inc()


def _mark(decision: PolicyDecision) -> str:
    """The same for the same answer: a second try that is answered otherwise is in the books as well, and last."""
    return digest([_said(decision), decision.revision])[:12]


def _said(answer: PolicyDecision) -> dict[str, Any]:
    """What the bundle itself answered: a replay compares with this."""
    return answer.model_dump(mode="json", include={"effect", "reasons", "rule", "quorum", "roles"})


def revision_entry(engine: str, revision: str, now: datetime) -> AuditEntry:
    """That decisions come from another revision from now on."""
    entry = AuditEntry(
        chain=PLATFORM,
        type=AuditType.CONTROL_CHANGED,
        reason="policy_revision",
        detail=f"{engine} decides by revision {revision[:12]}",
        at=now,
        data={"engine": engine, "revision": revision},
        idempotency_key=f"policy_revision:{engine}:{revision}:{now.isoformat()}",
    )
    return resting(entry, engine, revision)
