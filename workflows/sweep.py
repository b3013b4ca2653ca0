"""What the schedules run: one sweep after terminated workflows, the audit trail's daily anchor and archive."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from cortexops.contracts.sweeping import (
    ANCHOR_WORKFLOW,
    ARCHIVE_WORKFLOW,
    SWEEP_WORKFLOW,
    AnchorReport,
    ArchiveReport,
    ClosedOrphan,
    ClusterSweeping,
    Orphan,
    Orphans,
    Settled,
    Sweeping,
    SweepQueue,
    SweepReport,
)
from cortexops.domain.sweep import Outcome

_AT_ONCE = 8
_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=10))
_BOOKS: dict[str, Any] = {
    "task_queue": SweepQueue.BOOKS,
    "start_to_close_timeout": timedelta(seconds=60),
    "heartbeat_timeout": timedelta(seconds=15),
    "schedule_to_close_timeout": timedelta(minutes=5),
    "retry_policy": _RETRY,
}
# Nobody who may touch clusters may be running: the incident is closed all the same, and the ledger's rows
# wait for the next sweep.
_CLUSTERS: dict[str, Any] = {
    "task_queue": SweepQueue.CLUSTERS,
    "schedule_to_start_timeout": timedelta(seconds=20),
    "start_to_close_timeout": timedelta(minutes=4),
    "heartbeat_timeout": timedelta(seconds=15),
    "retry_policy": RetryPolicy(maximum_attempts=2),
}


@workflow.defn(name=SWEEP_WORKFLOW)
class SweepWorkflow:
    """Looks once. What cannot be settled now is found again by the next sweep."""

    @workflow.run
    async def run(self) -> SweepReport:
        found: Orphans = await workflow.execute_activity_method(Sweeping.find_orphans, **_BOOKS)
        closed, outcomes = 0, Counter[str]()
        for start in range(0, len(found.found), _AT_ONCE):
            some = found.found[start : start + _AT_ONCE]
            for end, seen in await asyncio.gather(*(self._sweep(orphan) for orphan in some)):
                closed += end.closed
                outcomes.update(seen)
        return SweepReport(
            looked=found.looked,
            orphans=tuple(orphan.incident_id for orphan in found.found),
            closed=closed,
            outcomes=dict(sorted(outcomes.items())),
        )

    async def _sweep(self, orphan: Orphan) -> tuple[ClosedOrphan, list[str]]:
        outcomes: list[str] = []
        if orphan.rows:
            try:
                settled: Settled = await workflow.execute_activity_method(
                    ClusterSweeping.settle_orphan, orphan, **_CLUSTERS
                )
                outcomes = [outcome.value for outcome in settled.outcomes]
            except ActivityError:
                outcomes = [Outcome.UNREACHABLE.value] * orphan.rows
        closed: ClosedOrphan = await workflow.execute_activity_method(Sweeping.close_orphan, orphan, **_BOOKS)
        return closed, outcomes


@workflow.defn(name=ANCHOR_WORKFLOW)
class AnchorWorkflow:
    """Tries until the database answers."""

    @workflow.run
    async def run(self) -> AnchorReport:
        report: AnchorReport = await workflow.execute_activity_method(
            Sweeping.anchor_audit,
            **{**_BOOKS, "schedule_to_close_timeout": timedelta(hours=12)},
        )
        return report


@workflow.defn(name=ARCHIVE_WORKFLOW)
class ArchiveWorkflow:
    """Tries until the database answers; what may not be done fails, and is tried again the next night."""

    @workflow.run
    async def run(self) -> ArchiveReport:
        report: ArchiveReport = await workflow.execute_activity_method(
            Sweeping.archive_audit,
            **{
                **_BOOKS,
                "start_to_close_timeout": timedelta(hours=2),
                "schedule_to_close_timeout": timedelta(hours=12),
            },
        )
        return report
