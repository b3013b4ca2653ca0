"""What pages and API show of an incident: read from the store, put in order, secrets masked."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from pydantic import AwareDatetime

from console.rendering import masked, offset
from cortexops.domain.approval import ApprovalState
from cortexops.domain.audit import AuditEvent
from cortexops.domain.diagnosis import Diagnosis, Verdict
from cortexops.domain.errors import NotFound
from cortexops.domain.ids import approval_id, postmortem_id
from cortexops.domain.incident import MAX_ATTEMPTS, Incident
from cortexops.domain.ledger import LedgerRow
from cortexops.domain.postmortem import Postmortem
from cortexops.domain.resource import Frozen
from cortexops.domain.runbook_outcome import with_outcomes
from cortexops.domain.runbook_run import RunbookRun
from cortexops.ports.store import ApprovalRecord, Store

_TONES = {
    "detected": "alarm",
    "analyzed": "info",
    "action_executed": "act",
    "verified": "good",
    "resolved": "good",
    "approval_requested": "ask",
    "approval_vote": "ask",
    "approval_decided": "ask",
    "policy_violation": "bad",
    "action_refused": "bad",
    "effect_unknown": "bad",
    "compensation_executed": "act",
    "compensation_refused": "bad",
    "escalated": "bad",
    "terminated": "bad",
}

CONFIDENCE_WORDS = {
    Verdict.ROOT_CAUSE: "Root cause",
    Verdict.HYPOTHESIS: "Hypothesis: verify before you rely on it",
    Verdict.EXTERNAL: "Outside the cluster",
    Verdict.HEALTHY: "Nothing wrong was found",
    Verdict.UNKNOWN: "The cause is not known",
}


class Moment(Frozen):
    """One entry of the timeline. `offset` counts from detection."""

    at: AwareDatetime
    offset: str
    type: str
    reason: str
    detail: str
    actor: str
    state: str = ""
    tone: str = ""


class Dossier(NamedTuple):
    """All that is known of one incident."""

    incident: Incident
    diagnosis: Diagnosis | None
    events: list[AuditEvent]
    ledger: list[LedgerRow]
    approvals: list[ApprovalRecord]
    postmortem: Postmortem | None


async def incident_of(store: Store, incident_id: str) -> Incident:
    """Raises `NotFound`."""
    incident = await store.incident(incident_id)
    if incident is None:
        raise NotFound(f"There is no incident {incident_id!r}.")
    return incident


async def dossier(store: Store, incident_id: str) -> Dossier:
    """Raises `NotFound`."""
    incident = await incident_of(store, incident_id)
    return Dossier(  # one query after the other: a page takes one connection, not the whole pool
        incident,
        await store.diagnosis(incident_id),
        await store.events(incident_id),
        await store.rows_of(incident_id),
        await approvals_of(store, incident_id),
        await store.postmortem(postmortem_id(incident_id)),
    )


async def approvals_of(store: Store, incident_id: str) -> list[ApprovalRecord]:
    """The incident's approvals, newest first; each attempt asks at most once."""
    found = [await store.approval(approval_id(incident_id, n)) for n in range(MAX_ATTEMPTS, 0, -1)]
    return [record for record in found if record is not None]


def pending(approvals: list[ApprovalRecord], now: datetime) -> ApprovalRecord | None:
    """The approval that still waits for people."""
    return next((a for a in approvals if effective_state(a, now) is ApprovalState.PENDING), None)


def effective_state(record: ApprovalRecord, now: datetime) -> ApprovalState:
    """As stored, except that nobody can approve after the time is up, whoever has written that down yet."""
    if record.state is ApprovalState.PENDING and now >= record.request.expires_at:
        return ApprovalState.EXPIRED
    return record.state


def timeline(incident: Incident, events: list[AuditEvent]) -> list[Moment]:
    """The audit trail as a story, told from the moment of detection."""
    return [
        Moment(
            at=event.at,
            offset=offset(event.at - incident.detected_at),
            type=event.type,
            reason=event.reason,
            detail=masked(event.detail),
            actor=event.actor,
            state=str(event.data.get("after", "")),
            tone=_TONES.get(event.type, ""),
        )
        for event in events
    ]


def evidence_rows(diagnosis: Diagnosis | None) -> list[dict[str, Any]]:
    """The evidence, what the leading cause cites first; excerpts are text from the cluster, masked."""
    if diagnosis is None:
        return []
    lead = diagnosis.hypotheses[0] if diagnosis.hypotheses else None
    cited = set(lead.evidence) if lead else set()
    against = set(lead.against) if lead else set()
    rows = []
    for fact in sorted(diagnosis.evidence, key=lambda fact: fact.id not in cited | against):
        row = fact.model_dump(mode="json")
        row.update(
            resource_text=str(fact.resource),
            at=fact.at,
            summary=masked(fact.summary),
            excerpt=masked(fact.excerpt),
            role="against" if fact.id in against else "cited" if fact.id in cited else "",
        )
        rows.append(row)
    return rows


def runbook_of(known: Dossier) -> RunbookRun | None:
    """The runbook's steps, those that are actions with what became of them."""
    run = known.diagnosis.runbook if known.diagnosis else None
    return with_outcomes(run, known.ledger, ended=known.incident.state.final) if run else None


def approval_json(record: ApprovalRecord, now: datetime) -> dict[str, Any]:
    """An approval as the API tells it."""
    return {
        **record.request.model_dump(mode="json"),
        "state": effective_state(record, now),
        "votes": [vote.model_dump(mode="json") for vote in record.votes],
        "expires_in_seconds": max(0, round((record.request.expires_at - now).total_seconds())),
    }


def incident_json(incident: Incident, now: datetime) -> dict[str, Any]:
    return {**incident.model_dump(mode="json"), "age_seconds": round(incident.age(now), 3)}
