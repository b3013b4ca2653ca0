"""Real incident workflows with real books behind the console; investigation and remediation are scripted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities.records import RecordActivities
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.incident import ADD_SIGNALS, INCIDENT_WORKFLOW, IncidentInput, SignalBatch, TaskQueue
from cortexops.domain.incident import Incident
from cortexops.domain.policy import PolicyDecision, PolicyInput
from cortexops.domain.resource import ResourceRef
from tests.support.story import World as Story
from tests.support.story import a_signal
from workers.runner import sandbox
from workflows.incident import IncidentWorkflow


class Policy:
    """Always answers the same."""

    def __init__(self, decision: PolicyDecision) -> None:
        self._decision = decision

    async def evaluate(self, question: PolicyInput) -> PolicyDecision:
        return self._decision


async def connected(address: str) -> Client:
    return await Client.connect(address, data_converter=pydantic_data_converter)


@asynccontextmanager
async def real_workers(
    temporal: Client, store: PostgresStore, prefix: str, decision: PolicyDecision
) -> AsyncIterator[str]:
    """The name of a queue on which incident workflows run."""
    records, story = RecordActivities(store, Policy(decision)), Story()  # type: ignore[arg-type]
    books: list[Any] = [
        records.open_incident, records.record, records.decide, records.reassess, records.ask_approval,
        records.record_vote, records.settle_approval, records.close_incident,
    ]  # fmt: skip
    acts: list[Any] = [
        story.investigate, story.remember, story.dry_run, story.apply, story.verify, story.compensate,
    ]  # fmt: skip
    queue = f"{prefix}incidents"
    async with AsyncExitStack() as running:
        await running.enter_async_context(
            Worker(
                temporal,
                task_queue=queue,
                workflows=[IncidentWorkflow],
                activities=books,
                workflow_runner=sandbox(),
            )
        )
        for other in TaskQueue:
            if other != TaskQueue.INCIDENTS:
                await running.enter_async_context(Worker(temporal, task_queue=other, activities=acts))
        yield queue


async def begun(temporal: Client, queue: str, namespace: str) -> WorkflowHandle[Any, Incident]:
    """A workflow for one alert about `Deployment api` of the namespace."""
    target = ResourceRef(cluster="test", kind="Deployment", namespace=namespace, name="api")
    return await temporal.start_workflow(
        INCIDENT_WORKFLOW,
        IncidentInput(resource=target, environment="staging"),
        id=f"incident:{target.key}",
        task_queue=queue,
        start_signal=ADD_SIGNALS,
        start_signal_args=[SignalBatch(signals=(a_signal(),))],
        result_type=Incident,
    )
