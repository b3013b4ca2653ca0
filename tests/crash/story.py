"""The workflow that drives one change as an incident's does: dry run, apply, verify, and perhaps the undo."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from cortexops.contracts.remediation import (
        ApplyInput,
        ApplyOutcome,
        ApplyResult,
        CompensateInput,
        CompensateResult,
        DryRunInput,
        DryRunResult,
        Remediation,
        Step,
        VerifyInput,
    )
    from cortexops.domain.action import Action
    from cortexops.domain.resource import Frozen, ResourceRef
    from cortexops.domain.verification import Limits, Verification

QUEUE = "crash-orchestrator"
POLICY = "policy-1"
LIMITS = Limits(window=0.5, stable_for=0.1, interval=0.1)
_AGAIN = RetryPolicy(initial_interval=timedelta(milliseconds=200), backoff_coefficient=1)
_ALL = timedelta(seconds=60)
_SHORT: dict[str, Any] = {
    "start_to_close_timeout": timedelta(seconds=3),
    "schedule_to_close_timeout": _ALL,
    "retry_policy": _AGAIN,
}
_LONG: dict[str, Any] = {
    "start_to_close_timeout": timedelta(seconds=30),
    "heartbeat_timeout": timedelta(seconds=1.5),
    "schedule_to_close_timeout": _ALL,
    "retry_policy": _AGAIN,
}
"""As `workflows.options`, with a death noticed after seconds: a run of the matrix is to be short."""


class Play(Frozen):
    """One change to make. With `undo` it is taken back after the verification."""

    queue: str
    incident_id: str
    action: Action
    subject: ResourceRef
    undo: bool = False


class Ended(Frozen):
    """What each activity answered; None: it was not asked."""

    dry_run: DryRunResult
    apply: ApplyResult | None = None
    verify: Verification | None = None
    compensate: CompensateResult | None = None


@workflow.defn
class Story:
    @workflow.run
    async def run(self, play: Play) -> Ended:
        step = Step(incident_id=play.incident_id, attempt=1)
        tried = await workflow.execute_activity_method(
            Remediation.dry_run,
            DryRunInput(step=step, action=play.action, policy_revision=POLICY),
            task_queue=play.queue,
            **_SHORT,
        )
        if tried.prepared is None:
            return Ended(dry_run=tried)
        applied = await workflow.execute_activity_method(
            Remediation.apply,
            ApplyInput(step=step, prepared=tried.prepared, digest=tried.digest, policy_revision=POLICY),
            task_queue=play.queue,
            **_LONG,
        )
        verdict = undone = None
        if applied.outcome is ApplyOutcome.APPLIED:
            verdict = await workflow.execute_activity_method(
                Remediation.verify,
                VerifyInput(
                    step=step,
                    action=play.action,
                    operation_id=applied.operation_id,
                    limits=LIMITS,
                    subject=play.subject,
                    expected_replicas=tried.prepared.expected_replicas,
                ),
                task_queue=play.queue,
                **_LONG,
            )
        if play.undo:
            undone = await workflow.execute_activity_method(
                Remediation.compensate,
                CompensateInput(
                    step=step, operation_id=applied.operation_id, limits=LIMITS, subject=play.subject
                ),
                task_queue=play.queue,
                **_LONG,
            )
        return Ended(dry_run=tried, apply=applied, verify=verdict, compensate=undone)
