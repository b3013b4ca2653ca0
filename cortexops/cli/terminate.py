"""Stopping one incident's automation."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

from temporalio.service import RPCError, RPCStatusCode

from cortexops.adapters import temporal
from cortexops.adapters.postgres import PostgresStore
from cortexops.cli.common import found, settings
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.errors import TemporaryError
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.ledger import LedgerRow, LedgerState


async def stop_incident(incident_id: str, reason: str) -> list[LedgerRow]:
    """Terminate the workflow, write the audit row, end the incident; returns changes left half done.

    Raises `NotFound` for an unknown incident, `TemporaryError` when Temporal does not answer.
    """
    configured = settings()
    store = await PostgresStore.connect(configured.postgres.dsn.get_secret_value())
    try:
        incident = found(await store.incident(incident_id), incident_id)
        client = await temporal.connect(configured.temporal)
        try:
            await client.get_workflow_handle(incident.key, run_id=incident.run_id).terminate(reason=reason)
        except RPCError as error:
            if (
                error.status is not RPCStatusCode.NOT_FOUND
            ):  # it has ended: nothing runs, that is what was asked
                raise TemporaryError(f"Temporal refuses: {error.message}") from None
        now = datetime.now(UTC)
        entry = AuditEntry(
            chain=incident_id,
            type=AuditType.TERMINATED,
            reason=Reason.TERMINATED,
            detail=reason,
            actor=getpass.getuser(),
            at=now,
            idempotency_key=f"{incident.run_id}:terminated",
        )
        ended = incident.model_copy(
            update={
                "state": IncidentState.ESCALATED,
                "reason": Reason.TERMINATED,
                "updated_at": now,
                "ended_at": now,
                "summary": reason,
            }
        )
        await store.update_incident(ended if not incident.state.final else incident, [entry])
        rows = await store.rows_of(incident_id)
        return [r for r in rows if r.state in (LedgerState.INTENT, LedgerState.APPLIED, LedgerState.UNKNOWN)]
    finally:
        await store.close()
