"""The Temporal Schedules of the product, and who runs what they start.

`cortexops-sweep` looks for work that terminated workflows left behind; `cortexops-anchor` anchors the audit
trail a quarter of an hour after each UTC day; `cortexops-archive`, where a folder and an age are set, archives
what is old half an hour later. Every orchestrator makes sure at its start that they are there
as configured; several at once, or again, change nothing. Paused by a person, they stay paused.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from cortexops.contracts.sweeping import (
    ANCHOR_WORKFLOW,
    ARCHIVE_WORKFLOW,
    SWEEP_WORKFLOW,
    ClusterSweeping,
    Sweeping,
    SweepQueue,
)
from cortexops.settings import AuditSettings, SweepSettings
from cortexops.telemetry import get_logger
from workers.runner import GRACE, sandbox
from workflows.sweep import AnchorWorkflow, ArchiveWorkflow, SweepWorkflow

SWEEP_SCHEDULE = "cortexops-sweep"
ANCHOR_SCHEDULE = "cortexops-anchor"
ARCHIVE_SCHEDULE = "cortexops-archive"
_RPC = timedelta(seconds=10)
_AGAIN = 5.0  # seconds until the next try while Temporal does not take them
_log = get_logger(__name__)


def book_sweeper(client: Client, activities: Sweeping, *, queue: str = SweepQueue.BOOKS) -> Worker:
    """Runs the sweep, the anchor and the archive; touches no cluster."""
    return Worker(
        client,
        task_queue=queue,
        workflows=[SweepWorkflow, AnchorWorkflow, ArchiveWorkflow],
        activities=[
            activities.find_orphans,
            activities.close_orphan,
            activities.anchor_audit,
            activities.archive_audit,
        ],
        workflow_runner=sandbox(),
        max_concurrent_activities=10,
        graceful_shutdown_timeout=GRACE,
    )


def cluster_sweeper(
    client: Client, activities: ClusterSweeping, *, queue: str = SweepQueue.CLUSTERS
) -> Worker:
    """Looks at the objects of changes that were left behind, with the identity that made them."""
    return Worker(
        client,
        task_queue=queue,
        activities=[activities.settle_orphan],
        max_concurrent_activities=10,
        graceful_shutdown_timeout=GRACE,
    )


def archives(audit: AuditSettings) -> bool:
    """Whether old rows of the audit trail are to be archived without being told to."""
    return audit.archive_daily and audit.archive_path is not None and audit.retention_days > 0


def schedules(settings: SweepSettings) -> dict[str, Schedule]:
    """All that there are, by id, as they should be."""
    pause = timedelta(seconds=settings.interval_seconds)
    return {
        SWEEP_SCHEDULE: Schedule(
            action=ScheduleActionStartWorkflow(
                SWEEP_WORKFLOW,
                id=SWEEP_SCHEDULE,
                task_queue=SweepQueue.BOOKS,
                execution_timeout=timedelta(minutes=15),
            ),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=pause)]),
            # What was missed is made up for by the next sweep, which looks at everything.
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(seconds=10)),
        ),
        ANCHOR_SCHEDULE: _daily(ANCHOR_SCHEDULE, ANCHOR_WORKFLOW, minute=15),
        ARCHIVE_SCHEDULE: _daily(ARCHIVE_SCHEDULE, ARCHIVE_WORKFLOW, minute=45),
    }


def _daily(name: str, workflow: str, *, minute: int) -> Schedule:
    """Every day so many minutes after midnight UTC; a day that was missed is made up for."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            workflow, id=name, task_queue=SweepQueue.BOOKS, execution_timeout=timedelta(hours=20)
        ),
        spec=ScheduleSpec(
            calendars=[ScheduleCalendarSpec(hour=(ScheduleRange(0),), minute=(ScheduleRange(minute),))]
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(hours=23)),
    )


async def ensure(client: Client, settings: SweepSettings, audit: AuditSettings | None = None) -> None:
    """Create or update the schedules, or delete those that are not wanted. Raises `RPCError`."""
    archiving = archives(audit or AuditSettings())
    for name, wanted in schedules(settings).items():
        if not settings.enabled or (name == ARCHIVE_SCHEDULE and not archiving):
            await _delete(client, name)
            continue
        try:
            await client.create_schedule(name, wanted, rpc_timeout=_RPC)
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(name).update(
                lambda given, wanted=wanted: _updated(given, wanted),  # type: ignore[misc]
                rpc_timeout=_RPC,
            )


def _updated(given: ScheduleUpdateInput, wanted: Schedule) -> ScheduleUpdate | None:
    """As wanted, with what people did to it (pausing, a note) left alone; None when it is so already."""
    found = given.description.schedule
    same_action = (
        isinstance(found.action, ScheduleActionStartWorkflow)
        and isinstance(wanted.action, ScheduleActionStartWorkflow)
        and (found.action.workflow, found.action.task_queue, found.action.execution_timeout)
        == (wanted.action.workflow, wanted.action.task_queue, wanted.action.execution_timeout)
    )
    if same_action and found.spec == wanted.spec and found.policy == wanted.policy:
        return None
    wanted.state = found.state
    return ScheduleUpdate(schedule=wanted)


async def _delete(client: Client, name: str) -> None:
    try:
        await client.get_schedule_handle(name).delete(rpc_timeout=_RPC)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


class Schedules:
    """Makes sure of the schedules at the start of its process, for as long as it takes."""

    def __init__(self, client: Client, settings: SweepSettings, audit: AuditSettings | None = None) -> None:
        self._client = client
        self._settings = settings
        self._audit = audit
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        while True:
            try:
                return await ensure(self._client, self._settings, self._audit)
            except RPCError as error:
                _log.warning("schedules are not in place yet", problem=error.message)
            await asyncio.sleep(_AGAIN)
