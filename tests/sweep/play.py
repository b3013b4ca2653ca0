"""One incident whose workflow can be stopped at each boundary, and the sweeper that comes after it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities.records import RecordActivities
from activities.sweeping import BookSweeping, RowSweeping
from cortexops.adapters.temporal_runs import Runs
from cortexops.contracts.incident import (
    ADD_SIGNALS,
    INCIDENT_WORKFLOW,
    IncidentInput,
    IncidentLimits,
    SignalBatch,
    TaskQueue,
)
from cortexops.contracts.investigation import Investigated
from cortexops.contracts.remediation import (
    ApplyInput,
    ApplyResult,
    CompensateInput,
    CompensateResult,
    DryRunInput,
    DryRunResult,
    Remediation,
    VerifyInput,
)
from cortexops.contracts.sweeping import SWEEP_WORKFLOW, SweepQueue, SweepReport
from cortexops.domain.ids import incident_key
from cortexops.domain.incident import Incident
from cortexops.domain.policy import Effect
from cortexops.domain.verification import Limits, Verification
from sandbox.cluster.faults import Fault
from sandbox.engines.extra import program
from tests.console.real_workflow import Policy
from tests.remediation.support import Stage
from tests.support.story import World, a_candidate, a_decision, a_diagnosis, a_signal
from workers.runner import sandbox
from workers.schedules import book_sweeper, cluster_sweeper
from workflows.incident import IncidentWorkflow

QUICK = Limits(window=1, stable_for=0.05, interval=0.05)


class Gated(Remediation):
    """The real activities, each waiting at its gate (before or after its effect) when there is one."""

    def __init__(self, real: Remediation) -> None:
        self._real = real
        self.gates: dict[str, asyncio.Event] = {}
        self.reached: set[str] = set()

    async def _pass(self, gate: str) -> None:
        self.reached.add(gate)
        if gate in self.gates:
            await self.gates[gate].wait()

    @activity.defn
    async def dry_run(self, question: DryRunInput) -> DryRunResult:
        await self._pass("before dry_run")
        return await self._real.dry_run(question)

    @activity.defn
    async def apply(self, order: ApplyInput) -> ApplyResult:
        await self._pass("before apply")
        result = await self._real.apply(order)
        await self._pass("after apply")
        return result

    @activity.defn
    async def verify(self, question: VerifyInput) -> Verification:
        await self._pass("before verify")
        result = await self._real.verify(question)
        await self._pass("after verify")
        return result

    @activity.defn
    async def compensate(self, order: CompensateInput) -> CompensateResult:
        await self._pass("before compensate")
        result = await self._real.compensate(order)
        await self._pass("after compensate")
        return result


class Play:
    """The incident of one test: to begin, to stop, to sweep up after."""

    def __init__(self, stage: Stage, client: Client, address: str, prefix: str) -> None:
        self.stage, self.client, self.prefix = stage, client, prefix
        self.store = stage.store
        self.address = address
        self.gated = Gated(stage.activities)
        self.story = World()
        self.effect = Effect.ALLOW
        self.grace = timedelta(0)
        self.compensate = False

    @property
    def key(self) -> str:
        return incident_key(self.stage.ref())

    async def begin(self, *faults: Fault) -> WorkflowHandle[Any, Incident]:
        """Make the object, let the faults happen from then on, start the workflow."""
        await self.stage.deployment()
        for fault in faults:
            self.stage.faults.add(fault)
        return await self.client.start_workflow(
            INCIDENT_WORKFLOW,
            IncidentInput(
                resource=self.stage.ref(),
                environment="staging",
                limits=IncidentLimits(verification=QUICK, approval_seconds=600),
            ),
            id=self.key,
            task_queue=f"{self.prefix}q",
            start_signal=ADD_SIGNALS,
            start_signal_args=[SignalBatch(signals=(a_signal(),))],
            result_type=Incident,
        )

    async def incident(self) -> Incident:
        """The stored incident of the workflow."""
        (found,) = [one for one in await self.store.incidents() if one.key == self.key]
        return found

    def gate(self, name: str) -> None:
        self.gated.gates[name] = asyncio.Event()

    async def until_at(self, gate: str) -> None:
        await until(lambda: _true(gate in self.gated.reached))

    async def terminate_raw(self) -> None:
        """As an operator does who knows nothing of us."""
        await asyncio.to_thread(
            subprocess.run,
            [
                str(program("temporal")), "workflow", "terminate", "-w", self.key, "--reason", "raw",
                "--address", self.address, "--disable-config-file", "--disable-config-env",
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip

    def sweepers(self) -> tuple[BookSweeping, RowSweeping]:
        books = BookSweeping(self.store, Runs(self.client, self.store.run_is_known), grace=self.grace)
        rows = RowSweeping(
            self.store,
            {self.stage.writer.name: self.stage.writer},
            remediation=self.stage.activities if self.compensate else None,
            limits=QUICK,
        )
        return books, rows

    async def sweep(self) -> SweepReport:
        """One sweep, by the workflow that the schedule starts."""
        books, rows = self.sweepers()
        async with book_sweeper(self.client, books), cluster_sweeper(self.client, rows):
            report: SweepReport = await self.client.execute_workflow(
                SWEEP_WORKFLOW,
                id=f"{self.prefix}sweep",
                task_queue=SweepQueue.BOOKS,
                result_type=SweepReport,
                execution_timeout=timedelta(seconds=60),
            )
        return report


async def _true(value: bool) -> bool:
    return value


async def until(check: Callable[[], Awaitable[Any]], seconds: float = 15) -> Any:
    async with asyncio.timeout(seconds):
        while not (answer := await check()):
            await asyncio.sleep(0.02)
        return answer


@contextlib.asynccontextmanager
async def playing(stage: Stage, address: str, prefix: str) -> AsyncIterator[Play]:
    """Workers for everything but the sweep; gates are opened at the end, so that no worker hangs."""
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    play = Play(stage, client, address, prefix)
    action = stage.action("scale_workload", replicas=1)
    candidate = a_candidate().model_copy(update={"action": action})
    play.story.investigations = [Investigated(diagnosis=a_diagnosis(), candidates=(candidate,))]
    policy: Any = _Policy(play)
    records = RecordActivities(stage.store, policy)
    queues: dict[str, list[Any]] = {
        f"{prefix}q": [
            records.open_incident, records.record, records.decide, records.reassess, records.ask_approval,
            records.record_vote, records.settle_approval, records.close_incident,
        ],
        TaskQueue.INVESTIGATION: [play.story.investigate, play.story.remember],
        TaskQueue.REMEDIATION: [
            play.gated.dry_run, play.gated.apply, play.gated.verify, play.gated.compensate,
        ],
    }  # fmt: skip
    async with contextlib.AsyncExitStack() as running:
        for queue, activities in queues.items():
            await running.enter_async_context(
                Worker(
                    client,
                    task_queue=queue,
                    workflows=[IncidentWorkflow] if queue.startswith(prefix) else [],
                    activities=activities,
                    workflow_runner=sandbox(),
                )
            )
        try:
            yield play
        finally:
            for gate in [*play.gated.gates.values(), *play.story.gates.values()]:
                gate.set()
            stage.faults.clear()
            with contextlib.suppress(Exception):
                await client.get_workflow_handle(play.key).terminate()


class _Policy(Policy):
    """Answers what the test says at the moment."""

    def __init__(self, play: Play) -> None:
        self._play = play

    async def evaluate(self, question: Any) -> Any:
        return a_decision(self._play.effect)
