"""How Temporal workers run: the workflow sandbox, its pass-through modules, and who serves which queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from cortexops.contracts.incident import TaskQueue
from cortexops.contracts.investigation import Investigation
from cortexops.contracts.reasoning import Reasoning
from cortexops.contracts.records import Records
from cortexops.contracts.remediation import Remediation
from workflows.incident import IncidentWorkflow

GRACE = timedelta(seconds=5)
"""Running activities may finish for this long when a worker stops."""


def sandbox() -> SandboxedWorkflowRunner:
    """The sandbox. Domain and contracts are pure, so they are not loaded again for each run."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(
        "cortexops.domain", "cortexops.contracts", "pydantic", "pydantic_core", "detect_secrets"
    )
    return SandboxedWorkflowRunner(restrictions=restrictions)


def orchestrator(client: Client, records: Records, *, queue: str = TaskQueue.INCIDENTS) -> Worker:
    """Runs the workflows and keeps the books; touches no cluster."""
    return _worker(
        client,
        queue,
        workflows=[IncidentWorkflow],
        activities=[
            records.open_incident,
            records.record,
            records.decide,
            records.reassess,
            records.ask_approval,
            records.record_vote,
            records.settle_approval,
            records.close_incident,
        ],
    )


def investigator(
    client: Client,
    activities: Investigation,
    reasoning: Reasoning,
    *,
    most: int,
    queue: str = TaskQueue.INVESTIGATION,
) -> Worker:
    """Reads clusters with an identity that cannot write."""
    return _worker(
        client,
        queue,
        activities=[
            activities.investigate,
            activities.remember,
            reasoning.more_evidence,
            reasoning.keep_diagnosis,
        ],
        most=most,
    )


def reasoner(client: Client, reasoning: Reasoning, *, most: int, queue: str = TaskQueue.REASONING) -> Worker:
    """Asks the model where one is configured, and says so where none is."""
    return _worker(client, queue, activities=[reasoning.think], most=most)


def remediator(
    client: Client, activities: Remediation, *, most: int, queue: str = TaskQueue.REMEDIATION
) -> Worker:
    """Changes clusters. The only process that has the writing identity."""
    return _worker(
        client,
        queue,
        activities=[activities.dry_run, activities.apply, activities.verify, activities.compensate],
        most=most,
    )


def _worker(
    client: Client,
    queue: str,
    *,
    activities: Sequence[Callable[..., Any]],
    workflows: Sequence[type] = (),
    most: int = 50,
) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=workflows,
        activities=activities,
        workflow_runner=sandbox(),
        max_concurrent_activities=most,
        graceful_shutdown_timeout=GRACE,
        # An illegal transition is a defect of ours: fail the run visibly rather than retry the task for ever.
        workflow_failure_exception_types=[ValueError, AssertionError],
    )
