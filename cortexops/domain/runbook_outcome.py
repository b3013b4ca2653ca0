"""What became of the actions that a runbook offered: read from the ledger and the incident, never guessed."""

from __future__ import annotations

from collections.abc import Iterable

from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.runbook_run import RunbookRun, StepKind, StepReason, StepRun, StepStatus

_BECAME: dict[LedgerState, tuple[StepStatus, StepReason]] = {
    LedgerState.INTENT: (StepStatus.PENDING, StepReason.UNDER_WAY),
    LedgerState.APPLIED: (StepStatus.PENDING, StepReason.UNDER_WAY),
    LedgerState.VERIFIED: (StepStatus.COMPLETED, StepReason.VERIFIED),
    LedgerState.COMPENSATED: (StepStatus.FAILED, StepReason.UNDONE),
    LedgerState.REFUSED: (StepStatus.FAILED, StepReason.REFUSED),
    LedgerState.UNKNOWN: (StepStatus.FAILED, StepReason.EFFECT_UNKNOWN),
}


def with_outcomes(run: RunbookRun, rows: Iterable[LedgerRow], *, ended: bool) -> RunbookRun:
    """The run with the fate of each action that it offered; the last attempt counts.

    An action of an ended incident that was never tried was not taken: policy, people or a better one.
    """
    by_action = {row.action.hash: row for row in sorted(rows, key=lambda row: (row.attempt, row.step))}
    return run.model_copy(
        update={"steps": tuple(_with_outcome(step, by_action.get(step.action), ended) for step in run.steps)}
    )


def _with_outcome(step: StepRun, row: LedgerRow | None, ended: bool) -> StepRun:
    if step.kind is not StepKind.ACTION or not step.action or step.status is not StepStatus.PENDING:
        return step
    if row is None:
        if not ended:
            return step
        return step.model_copy(update={"status": StepStatus.SKIPPED, "reason": StepReason.NOT_TAKEN})
    status, reason = _BECAME[row.state]
    if ended and row.state is LedgerState.APPLIED:
        status, reason = (
            StepStatus.FAILED,
            StepReason.EFFECT_UNKNOWN,
        )  # applied, and never found to have helped
    seconds = round(max(0.0, (row.updated_at - row.created_at).total_seconds()), 3)
    return step.model_copy(
        update={"status": status, "reason": reason, "detail": row.detail[:300], "seconds": seconds}
    )
