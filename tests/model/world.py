"""The scripted world of workflow tests, with a diagnosis that a model can be asked about."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker, WorkflowRunner

from activities.reasoning import ReasoningActivities
from cortexops.contracts.incident import IncidentLimits, TaskQueue
from cortexops.contracts.investigation import Investigated
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.evidence import Evidence, EvidenceKind
from cortexops.domain.reasoning import ModelLimits
from cortexops.domain.resource import ResourceRef
from tests.support.stage import Stage
from tests.support.story import TARGET, World, a_candidate
from workers.runner import sandbox
from workflows.incident import IncidentWorkflow

DB = ResourceRef(cluster="test", kind="StatefulSet", namespace="shop", name="db")
WITH_MODEL = IncidentLimits(model=ModelLimits(seconds=60, call_seconds=20))


def thinking_diagnosis() -> Diagnosis:
    def fact(number: int, ref: ResourceRef, summary: str) -> Evidence:
        return Evidence(id=f"e{number}", kind=EvidenceKind.STATUS, resource=ref, summary=summary)

    def hypothesis(ref: ResourceRef, category: Category, confidence: float, id: str) -> Hypothesis:
        return Hypothesis(
            resource=ref, category=category, summary=f"{ref.name}: {category}", support=Support(direct=1),
            container="api", confidence=confidence, evidence=(id,),
        )  # fmt: skip

    return Diagnosis(
        target=TARGET,
        verdict=Verdict.ROOT_CAUSE,
        hypotheses=(
            hypothesis(TARGET, Category.OOM_LIMIT_TOO_LOW, 0.9, "e1"),
            hypothesis(DB, Category.DEPENDENCY_DOWN, 0.4, "e2"),
        ),
        evidence=(fact(1, TARGET, "it is killed at its limit"), fact(2, DB, "it answers slowly")),
        examined=(TARGET, DB),
    )


def thinking_world() -> World:
    world = World()
    world.investigations = [Investigated(diagnosis=thinking_diagnosis(), candidates=(a_candidate(),))]
    return world


@contextlib.asynccontextmanager
async def thinking_stage(
    address: str,
    prefix: str,
    reasoning: ReasoningActivities | None,
    *,
    investigator: bool = True,
    cached: int = 1000,
    runner: WorkflowRunner | None = None,
) -> AsyncIterator[Stage]:
    """As `staged`, with real reasoning on the investigators' queue (none at all when it is None)."""
    queue = f"{prefix}q"
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    world = thinking_world()
    own: list[Any] = [world.investigate, world.remember]
    thinking: list[Any] = [world.remember]
    if reasoning is not None:
        own += [reasoning.more_evidence, reasoning.keep_diagnosis]
        thinking = [reasoning.think]
    async with contextlib.AsyncExitStack() as stack:
        served: dict[str, list[Any]] = {queue: world.everything, TaskQueue.REMEDIATION: world.everything}
        if investigator:
            served |= {TaskQueue.INVESTIGATION: own, TaskQueue.REASONING: thinking}
        for name, activities in served.items():
            await stack.enter_async_context(
                Worker(
                    client,
                    task_queue=name,
                    workflows=[IncidentWorkflow] if name == queue else [],
                    activities=activities,
                    workflow_runner=runner or sandbox(),
                    max_cached_workflows=cached,
                )
            )
        yield Stage(client, prefix, world)


async def activities_of(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Names of the activities that the workflow scheduled, in order."""
    history = await handle.fetch_history()
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]


async def until(condition: Any, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)
