"""The postmortem of an incident that has ended, from what the books say, with its audit event."""

from __future__ import annotations

from typing import Protocol

from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.incident import Incident
from cortexops.domain.postmortem import write_postmortem
from cortexops.ports.store import AuditStore, IncidentStore, LedgerStore, PostmortemStore


class WrittenStore(IncidentStore, AuditStore, LedgerStore, PostmortemStore, Protocol):
    """What writing up needs of the store."""


async def write_up(store: WrittenStore, incident: Incident) -> None:
    """Once, however often it is tried."""
    events = await store.events(incident.id)
    diagnosis = await store.diagnosis(incident.id)
    used = diagnosis is not None and diagnosis.runbook is not None
    rows = await store.rows_of(incident.id) if used else ()  # they say what became of a runbook's actions
    postmortem = write_postmortem(incident, diagnosis, events, rows)
    entry = AuditEntry(
        chain=incident.id,
        type=AuditType.POSTMORTEM,
        reason=incident.reason,
        detail=f"{postmortem.id} is open for review",
        at=incident.updated_at,
        idempotency_key=f"{incident.run_id}:postmortem",
    )
    await store.save_postmortem(postmortem, entry)
