"""One incident on a real Temporal server with a scripted world around it: for workflow tests and recordings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from cortexops.contracts.incident import (
    ADD_SIGNALS,
    INCIDENT_WORKFLOW,
    STATUS,
    VOTE,
    IncidentInput,
    IncidentLimits,
    IncidentStatus,
    SignalBatch,
    TaskQueue,
    VoteResult,
)
from cortexops.domain.approval import ApprovalRequest, Decision, Person, Vote
from cortexops.domain.incident import Incident
from tests.support.story import TARGET, World, a_signal
from workers.runner import sandbox
from workflows.incident import IncidentWorkflow


class Stage:
    """One worker for all queues of one test, and the handle of its incident."""

    def __init__(self, client: Client, prefix: str, world: World) -> None:
        self.client, self.prefix, self.world = client, prefix, world

    async def begin(
        self, *, limits: IncidentLimits | None = None, signal: Any = None
    ) -> WorkflowHandle[Any, Incident]:
        return await self.client.start_workflow(
            INCIDENT_WORKFLOW,
            IncidentInput(resource=TARGET, environment="staging", limits=limits or IncidentLimits()),
            id=f"{self.prefix}incident",
            task_queue=f"{self.prefix}q",
            start_signal=ADD_SIGNALS,
            start_signal_args=[SignalBatch(signals=(signal or a_signal(),))],
            result_type=Incident,
        )

    async def asked(self, handle: WorkflowHandle[Any, Any]) -> ApprovalRequest:
        for _ in range(200):
            if self.world.asked:
                status: IncidentStatus = await handle.query(STATUS, result_type=IncidentStatus)
                if status.approval is not None:
                    return status.approval
            await asyncio.sleep(0.05)
        pytest.fail("nobody was asked")


async def cast(
    handle: WorkflowHandle[Any, Any],
    request: ApprovalRequest,
    person: str,
    decision: Decision = Decision.APPROVE,
    *,
    roles: tuple[str, ...] = ("oncall",),
    digest: str = "",
    via: str = "token",
) -> VoteResult:
    vote = Vote(
        approval_id=request.id,
        person=Person(id=person, roles=roles, via=via),
        decision=decision,
        digest=digest or request.digest,
    )
    result: VoteResult = await handle.execute_update(VOTE, vote, result_type=VoteResult)
    return result


@contextlib.asynccontextmanager
async def staged(address: str, prefix: str) -> AsyncIterator[Stage]:
    """Workers for all queues, one world."""
    queue = f"{prefix}q"
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    world = World()
    async with contextlib.AsyncExitStack() as stack:
        for name in (queue, *TaskQueue):
            await stack.enter_async_context(
                Worker(
                    client,
                    task_queue=name,
                    workflows=[IncidentWorkflow] if name == queue else [],
                    activities=world.everything,
                    workflow_runner=sandbox(),
                )
            )
        yield Stage(client, prefix, world)
