"""The audit rows and the messages of what was swept up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cortexops.domain.approval import ApprovalRequest
from cortexops.domain.audit import AuditEntry, AuditType, resting
from cortexops.domain.change import Verb
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.message import Message, MessageKind
from cortexops.domain.narrative import message
from cortexops.domain.sweep import REASONS, STEP_REASONS, Finding, RunState

_LEFT = (LedgerState.INTENT, LedgerState.APPLIED, LedgerState.UNKNOWN)
_VOID = "void: the workflow that asked has ended"


def closing_entries(
    incident: Incident,
    run: RunState,
    reason: Reason,
    text: str,
    rows: Sequence[LedgerRow],
    *,
    at: datetime,
    by: AuditEntry | None,
) -> list[AuditEntry]:
    """Who or what ended it, and that it is escalated."""
    left = [{"operation": row.operation_id, "state": row.state.value} for row in rows if row.state in _LEFT]
    data = {"workflow": incident.key, "run_id": incident.run_id, "run": run.value, "left": left}
    found = by or AuditEntry(
        chain=incident.id,
        type=AuditType.ORPHAN_FOUND,
        reason=reason,
        detail=text.splitlines()[0],
        at=at,
        idempotency_key=f"{incident.run_id}:orphan",
    )
    escalated = AuditEntry(
        chain=incident.id,
        type=AuditType.ESCALATED,
        reason=reason,
        detail=text,
        actor=by.actor if by else "cortexops",
        at=at,
        data={"before": incident.state.value, "after": IncidentState.ESCALATED.value},
        idempotency_key=f"{incident.run_id}:orphan:escalated",
    )
    on = [data, [row.model_dump(mode="json") for row in rows]]
    return [resting(found.model_copy(update={"data": data}), *on), resting(escalated, *on)]


def ending(incident: Incident, text: str, rows: Sequence[LedgerRow]) -> Message:
    """What people hear when the incident is closed; it wakes somebody up, unless a person closed it."""
    told = message(incident, MessageKind.ENDED, text, key="orphan", at=incident.updated_at)
    elsewhere = (Verb.PROPOSE, Verb.NOTHING)  # people decide on these, whoever looks
    left = [row for row in rows if row.state in _LEFT and row.change.verb not in elsewhere]
    return told.model_copy(update={"changes_left": len(left)})


def approval_void(
    incident: Incident, request: ApprovalRequest, at: datetime
) -> tuple[str, AuditEntry, Message]:
    """The end of a request that nobody waits for: id, audit row, and the edit of the message with buttons."""
    entry = AuditEntry(
        chain=incident.id,
        type=AuditType.APPROVAL_DECIDED,
        reason=Reason.APPROVAL_VOID,
        detail=f"{request.id}: {_VOID}",
        at=at,
        idempotency_key=f"{request.id}:void",
    )
    told = message(
        incident,
        MessageKind.APPROVAL_DECIDED,
        _VOID,
        key=f"void/{request.id}",
        at=at,
        approval=request,
    )
    return request.id, resting(entry, request.digest), told


def row_entries(row: LedgerRow, finding: Finding, run: RunState, at: datetime) -> list[AuditEntry]:
    """The steps of the ledger, named as the workflow would have named them, and what was found."""
    data = {"operation": row.operation_id, "attempt": row.attempt}
    entries = [
        AuditEntry(
            chain=row.incident_id,
            type=STEP_REASONS[step][0],
            reason=STEP_REASONS[step][1],
            detail=f"found out by a look at the object: {finding.detail}",
            at=at,
            data=data,
            idempotency_key=f"{row.operation_id}:{STEP_REASONS[step][0]}",
        )
        for step in finding.steps
    ]
    entries.append(
        AuditEntry(
            chain=row.incident_id,
            type=AuditType.ORPHAN_FOUND,
            reason=REASONS.get(run, Reason.WORKFLOW_GONE),
            detail=finding.detail,
            at=at,
            data={**data, "outcome": finding.outcome.value, "commands": list(finding.commands)},
            idempotency_key=f"{row.operation_id}:orphan",
        )
    )
    on = [row.model_dump(mode="json"), finding.model_dump(mode="json")]
    return [resting(entry, *on) for entry in entries]


def row_message(incident: Incident, row: LedgerRow, finding: Finding, at: datetime) -> Message:
    """News of a change after its incident was closed."""
    text = "\n".join([f"Found out later: {finding.detail}", *finding.commands])
    return message(incident, MessageKind.PROGRESS, text, key=f"orphan/{row.operation_id}", at=at)
