"""Incidents, changes and questions for tests of stops, limits and autonomy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from activities.deciding import Decider
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.records import DecideInput, RecordInput
from cortexops.domain.action import Action
from cortexops.domain.audit import PLATFORM, AuditEntry, AuditType
from cortexops.domain.autonomy import Outcome, Result
from cortexops.domain.change import Change, Verb
from cortexops.domain.guardrails import Guardrails
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.policy import Effect, PolicyDecision, PolicyInput
from cortexops.domain.resource import ResourceRef
from cortexops.domain.switch import Scope, Stop
from tests.policies.support import question
from tests.support.postgres import an_entry, moved, opened

NOW = datetime.now(UTC).replace(microsecond=0)
"""Stops, overrides and slots are compared with the clock of the database, so this one is right."""


def outcome(result: Result, at: datetime, **changes: Any) -> Outcome:
    base: dict[str, Any] = {
        "cluster": "east",
        "namespace": "shop",
        "workload": "Deployment/api",
        "action": "rollback_rollout",
    }
    return Outcome(**{**base, **changes}, result=result, at=at)


def a_target(name: str = "api", namespace: str = "shop") -> ResourceRef:
    return ResourceRef(cluster="east", kind="Deployment", namespace=namespace, name=name)


def an_action(name: str = "api", namespace: str = "shop", type_: str = "rollback_rollout") -> Action:
    return Action(type=type_, target=a_target(name, namespace))


def a_stop(number: int = 1, *, since: datetime = NOW, **changes: Any) -> Stop:
    scope = Scope(**{key: changes.pop(key) for key in ("cluster", "namespace", "action") if key in changes})
    base: dict[str, Any] = {"reason": "game day", "stopped_by": "ana"}
    return Stop(id=f"stop-{number}", scope=scope, since=since, **{**base, **changes})


def a_note(reason: str = "noted", **changes: Any) -> AuditEntry:
    return an_entry(PLATFORM, type=AuditType.CONTROL_CHANGED, reason=reason, **changes)


class Fixed:
    """A policy engine that always answers the same and remembers what it was asked."""

    def __init__(self, effect: Effect = Effect.ALLOW, **changes: Any) -> None:
        base: dict[str, Any] = {"reasons": ("fixed",), "rule": "fixed", "revision": "r1", "engine": "fixed"}
        self.answer = PolicyDecision(effect=effect, **{**base, **changes})
        self.asked: list[PolicyInput] = []

    async def evaluate(self, question: PolicyInput) -> PolicyDecision:
        self.asked.append(question)
        return self.answer

    async def health(self) -> str | None:
        return None

    async def close(self) -> None:
        return None


async def ask(
    store: PostgresStore,
    incident: Incident,
    policy: Any = None,
    rails: Guardrails | None = None,
    *,
    key: str = "policy-1",
    now: datetime | None = None,
    asked_at: datetime = NOW,
    confirming: bool = False,
    **changes: Any,
) -> PolicyDecision:
    """What would be decided for this incident."""
    asked = question(**{"incident_id": incident.id, "action": an_action(), "now": asked_at, **changes})
    order = DecideInput(
        record=RecordInput(incident=incident, entries=()),
        question=asked,
        idempotency_key=key,
        confirming=confirming,
    )
    clock = (lambda: now) if now else (lambda: datetime.now(UTC))
    return await Decider(store, policy or Fixed(), rails or Guardrails(), clock).decide(order)


async def ended(store: PostgresStore, incident: Incident) -> None:
    await store.update_incident(moved(incident, IncidentState.RESOLVED), [])


async def changed(
    store: PostgresStore,
    key: str,
    *states: LedgerState,
    at: datetime | None = None,
    action: Action | None = None,
    drill: bool = False,
    verb: Verb = Verb.PATCH,
) -> Incident:
    """An incident of its own with one change that went through these states, and has ended."""
    incident = await opened(store, key, drill=drill)
    when, act = at or NOW - timedelta(days=1), action or an_action()
    row = LedgerRow(
        operation_id=f"{incident.id}.1.1",
        incident_id=incident.id,
        attempt=1,
        step=1,
        plan_hash=act.hash,
        action=act,
        change=Change(target=act.target, verb=verb, uid="u", operation_id=f"{incident.id}.1.1"),
        snapshot={},
        state=LedgerState.INTENT,
        created_at=when,
        updated_at=when,
    )
    await store.intend(row, an_entry(incident.id))
    for state in states:
        await store.settle(row.operation_id, state, "", an_entry(incident.id, at=when))
    await ended(store, incident)
    return incident
