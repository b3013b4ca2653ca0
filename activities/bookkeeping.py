"""Ledger rows, audit entries and answers of remediation, in the words that people read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from activities.errors import told
from cortexops.contracts.remediation import ApplyOutcome, ApplyResult, DryRunResult, Step
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.errors import CortexError
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import Effect, LedgerRow, LedgerState
from cortexops.domain.snapshot import masked_change
from cortexops.ports.store import AuditStore, LedgerStore

SETTLED = {
    LedgerState.APPLIED: ApplyOutcome.APPLIED,
    LedgerState.VERIFIED: ApplyOutcome.APPLIED,
    LedgerState.COMPENSATED: ApplyOutcome.REFUSED,
    LedgerState.REFUSED: ApplyOutcome.REFUSED,
    LedgerState.UNKNOWN: ApplyOutcome.UNKNOWN,
}
FOUND = {
    Effect.DONE: (LedgerState.APPLIED, AuditType.ACTION_EXECUTED, Reason.APPLIED),
    Effect.NOT_DONE: (LedgerState.REFUSED, AuditType.ACTION_REFUSED, Reason.APPLY_REFUSED),
    Effect.UNKNOWN: (LedgerState.UNKNOWN, AuditType.EFFECT_UNKNOWN, Reason.EFFECT_UNKNOWN),
}
_TYPES = {
    LedgerState.APPLIED: AuditType.ACTION_EXECUTED,
    LedgerState.REFUSED: AuditType.ACTION_REFUSED,
    LedgerState.UNKNOWN: AuditType.EFFECT_UNKNOWN,
}


class Books(LedgerStore, AuditStore, Protocol):
    """What remediation needs of the store."""


async def settled(
    books: Books, row: LedgerRow, state: LedgerState, reason: Reason, detail: str
) -> ApplyResult:
    """Write down what became of an intent; the answer to whoever ordered it."""
    entry = row_entry(row, _TYPES[state], reason, detail)
    return result(await books.settle(row.operation_id, state, detail, entry), reason, detail)


async def handed_over(
    books: Books, row: LedgerRow, reason: Reason, said: str, commands: Sequence[str]
) -> ApplyResult:
    """It is made, but a person has to go on, and gets the commands: the answer to whoever ordered it."""
    detail = "\n".join([f"{row.action}: {said}", *commands])
    return await settled(books, row, LedgerState.UNKNOWN, reason, detail)


async def said_before(books: Books, row: LedgerRow) -> tuple[Reason, str]:
    """What was answered when the row was settled: a repeated call answers the same."""
    for event in reversed(await books.events(row.incident_id)):
        if event.type in _TYPES.values() and event.data.get("operation") == row.operation_id:
            return Reason(event.reason), event.detail
    return Reason.EFFECT_UNKNOWN, row.detail


def result(row: LedgerRow, reason: Reason, detail: str) -> ApplyResult:
    outcome = SETTLED[row.state]
    if reason is Reason.OBJECT_CHANGED:
        outcome = ApplyOutcome.CHANGED
    elif reason is Reason.PULL_REQUEST_OPENED and outcome is ApplyOutcome.APPLIED:
        outcome = ApplyOutcome.HANDED_OVER
    return ApplyResult(
        outcome=outcome,
        reason=reason,
        detail=detail,
        operation_id=row.operation_id,
        change=masked_change(row.change),
    )


def no(reason: Reason, error: CortexError) -> DryRunResult:
    return DryRunResult(ok=False, reason=reason, detail=told(error))


def row_entry(row: LedgerRow, type_: AuditType, reason: Reason, detail: str) -> AuditEntry:
    step = Step(incident_id=row.incident_id, attempt=row.attempt, step=row.step)
    return entry(step, type_, reason, detail, row.operation_id)


def entry(
    step: Step, type_: AuditType, reason: Reason, detail: str, operation: str, *, now: datetime | None = None
) -> AuditEntry:
    return AuditEntry(
        chain=step.incident_id,
        type=type_,
        reason=reason,
        detail=detail,
        at=now or datetime.now(UTC),
        data={"operation": operation, "attempt": step.attempt},
        idempotency_key=f"{operation}:{type_}",
    )


def part_entry(row: LedgerRow, key: str, detail: str) -> AuditEntry:
    """One part of a change that has several, such as one eviction of a drain."""
    made = row_entry(row, AuditType.PART_EXECUTED, Reason.APPLIED, detail)
    return made.model_copy(update={"idempotency_key": f"{made.idempotency_key}:{key}"})
