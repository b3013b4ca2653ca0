"""Sweeping up after workflows that ended before their work did.

Two halves, as the identities are divided: one keeps the books and never touches a cluster, one looks at
objects. Each step is written in one transaction with its audit events; interrupted anywhere, the next sweep
goes on from what is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from temporalio import activity

from activities.errors import for_temporal, heartbeating
from activities.health import utc_now
from activities.orphan_words import approval_void, closing_entries, ending, row_entries, row_message
from activities.proposals import Following, proposal_entries
from activities.writing_up import write_up
from cortexops.adapters.temporal_runs import Run, Runs
from cortexops.contracts.remediation import CompensateInput, Remediation, Step
from cortexops.contracts.sweeping import (
    AnchorReport,
    ArchiveReport,
    ClosedOrphan,
    ClusterSweeping,
    Orphan,
    Orphans,
    Settled,
    Sweeping,
)
from cortexops.domain.audit import AuditEntry
from cortexops.domain.change import Verb
from cortexops.domain.errors import CortexError, NotFound, PermanentError
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.ledger import LedgerRow
from cortexops.domain.redaction import redact
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.sweep import (
    REASONS,
    Finding,
    Outcome,
    RunState,
    closed,
    closing_text,
    judge,
    unreachable,
)
from cortexops.domain.verification import Limits
from cortexops.metrics import AUDIT_ANCHORED, AUDIT_ANCHORS, ORPHANS, WORKFLOW_OUTCOMES
from cortexops.ports.cluster import ReadableCluster
from cortexops.ports.forge import Forge
from cortexops.ports.sweeping import SweepStore, Unfinished

_MOST = 100
"""Orphans of one sweep; the next one finds the rest."""
_AT_ONCE = 16


class Archiving(NamedTuple):
    """Rows of incidents that ended so many days ago go into archives in the folder."""

    folder: Path
    days: float


class BookSweeping(Sweeping):
    """Finds and closes. `grace`: so long after its end a workflow's last request may be under way. Without
    `archiving` the audit trail is kept as it is."""

    def __init__(
        self,
        store: SweepStore,
        runs: Runs,
        *,
        grace: timedelta,
        archiving: Archiving | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._runs = runs
        self._grace = grace
        self._archiving = archiving
        self._clock = clock

    @activity.defn
    async def find_orphans(self) -> Orphans:
        with for_temporal():
            async with heartbeating():
                return await self.find()

    @activity.defn
    async def close_orphan(self, orphan: Orphan) -> ClosedOrphan:
        with for_temporal():
            return await self.close(orphan)

    @activity.defn
    async def anchor_audit(self) -> AnchorReport:
        with for_temporal():
            async with heartbeating():
                written = await self._store.anchor(self._clock())
                newest = await self._store.anchors(most=1)
        AUDIT_ANCHORS.inc(len(written))
        await self._measure()
        return AnchorReport(
            days=tuple(str(one.day) for one in written),
            newest=f"{newest[0].day}:{newest[0].hash}" if newest else "",
        )

    @activity.defn
    async def archive_audit(self) -> ArchiveReport:
        with for_temporal():
            async with heartbeating():
                return await self.archive()

    async def archive(self) -> ArchiveReport:
        """Archive until nothing is ripe. Raises `PermanentError` when the folder is not there, since nobody
        would find again what a worker writes into a folder of its own, or when the login may not prune."""
        if self._archiving is None or self._archiving.days <= 0:
            return ArchiveReport()
        folder, days = self._archiving
        if not folder.is_dir():
            raise PermanentError(f"audit.archive_path: {folder} is no folder here; nothing was archived")
        now = self._clock()
        bound = now - timedelta(days=days)
        report = ArchiveReport()
        while written := await self._store.prune(bound, folder, actor="cortexops", now=now):
            report = ArchiveReport(
                archives=(*report.archives, written.path.name),
                rows=report.rows + written.rows,
                incidents=report.incidents + len(written.ends),
            )
        return report

    async def find(self) -> Orphans:
        """Ask Temporal about every incident with something left. Raises `TemporaryError`."""
        await self._runs.check()
        await self._measure()
        orphans: list[Orphan] = []
        looked = 0
        waiting: list[Unfinished] = []
        async for one in self._store.unfinished_incidents():
            waiting.append(one)
            if len(waiting) == _AT_ONCE:
                looked += len(waiting)
                orphans += await self._of(waiting)
                waiting = []
            if len(orphans) >= _MOST:
                break
        looked += len(waiting)
        orphans += await self._of(waiting)
        return Orphans(looked=looked, found=tuple(orphans[:_MOST]))

    async def _measure(self) -> None:
        """Up to when the trail is anchored; told at each sweep, so that a restarted process knows it, too."""
        day = await self._store.anchored_day()
        if day is not None:
            end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
            AUDIT_ANCHORED.set(end.timestamp())

    async def _of(self, some: list[Unfinished]) -> list[Orphan]:
        runs = await asyncio.gather(*(self._runs.of(one.incident) for one in some))
        return [
            self.orphan(one.incident, run, one.rows)
            for one, run in zip(some, runs, strict=True)
            if run.state is not RunState.RUNNING
        ]

    def orphan(self, incident: Incident, run: Run, rows: int) -> Orphan:
        """The incident, whose run has ended. An end that nobody knows is as old as the last news."""
        ended = run.closed_at or incident.updated_at
        return Orphan(
            incident_id=incident.id,
            run=run.state,
            quiet=self._clock() - ended >= self._grace,
            rows=rows,
        )

    async def close(self, orphan: Orphan, *, by: AuditEntry | None = None) -> ClosedOrphan:
        """End the incident, unless it has ended. `by`: the row of the person who wanted it so, told of
        instead of what Temporal says."""
        incident = await self._store.incident(orphan.incident_id)
        if incident is None:
            raise NotFound(f"incident {orphan.incident_id} was not found")
        now = self._clock()
        reason = REASONS.get(orphan.run, Reason.WORKFLOW_GONE) if by is None else Reason.TERMINATED
        pending = await self._store.pending_approvals(incident.id)
        void = [one.request.id for one in pending]
        rows = await self._store.rows_of(incident.id)
        why = f"{by.actor} terminated it: {by.detail}." if by else ""
        text = closing_text(incident, orphan.run, rows, void, why=why)
        end = incident if incident.ended_at is not None else closed(incident, reason, now)
        done = await self._store.end_orphan(
            end,
            closing_entries(incident, orphan.run, reason, text, rows, at=end.updated_at, by=by),
            [ending(end, text, rows)],
            [approval_void(end, one.request, now) for one in pending],
        )
        if done:
            ORPHANS.labels(outcome="closed").inc()
            if not incident.drill:
                WORKFLOW_OUTCOMES.labels(state=IncidentState.ESCALATED).inc()
            await write_up(self._store, end)
        ORPHANS.labels(outcome="approval_void").inc(len(void))
        return ClosedOrphan(closed=done, void=tuple(void))


class RowSweeping(ClusterSweeping):
    """Looks at objects. With `remediation` it takes back what was applied and only we changed."""

    def __init__(
        self,
        store: SweepStore,
        clusters: Mapping[str, ReadableCluster],
        *,
        remediation: Remediation | None = None,
        limits: Limits | None = None,
        forge: Forge | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`forge`: where pull requests are followed; without, they are left to people."""
        self._store = store
        self._clusters = clusters
        self._following = Following(store, clusters, forge, clock) if forge is not None else None
        self._remediation = remediation
        self._limits = limits or Limits()
        self._clock = clock

    @activity.defn
    async def settle_orphan(self, orphan: Orphan) -> Settled:
        with for_temporal():
            async with heartbeating():
                return await self.settle(orphan)

    async def settle(self, orphan: Orphan) -> Settled:
        """Look at each unsettled change once. A cluster that does not answer leaves its rows for later."""
        incident = await self._store.incident(orphan.incident_id)
        if incident is None:
            raise NotFound(f"incident {orphan.incident_id} was not found")
        found = [await self._settle(incident, orphan, row) for row in await self._store.unswept(incident.id)]
        for one in found:
            if one.outcome in _OF_PROPOSALS:
                continue
            ORPHANS.labels(outcome=one.outcome).inc()
        return Settled(
            outcomes=tuple(one.outcome for one in found), details=tuple(one.detail for one in found)
        )

    async def _settle(self, incident: Incident, orphan: Orphan, row: LedgerRow) -> Finding:
        if self._following is not None and row.change.verb is Verb.PROPOSE:
            return await self._follow(self._following, incident, orphan, row)
        finding = await self._look(row, quiet=orphan.quiet)
        if not finding.outcome.settled:
            return finding
        taken_back = ""
        if self._remediation is not None and finding.reversible:
            taken_back = await self._take_back(self._remediation, incident, row)
            row = await self._store.row(row.operation_id) or row
            finding = finding.model_copy(update={"steps": ()})
            if taken_back.startswith(_TAKEN_BACK):
                finding = finding.model_copy(update={"outcome": Outcome.COMPENSATED, "commands": ()})
            finding = finding.model_copy(update={"detail": f"{finding.detail}; {taken_back}"})
        at = max(self._clock(), row.updated_at)
        entries = row_entries(row, finding, orphan.run, at)
        told = [row_message(incident, row, finding, at)] if incident.ended_at is not None else []
        await self._store.sweep_row(row, finding, entries, told)
        return finding

    async def _follow(
        self, following: Following, incident: Incident, orphan: Orphan, row: LedgerRow
    ) -> Finding:
        """A pull request that was opened is no orphan: people decide on it long after the incident."""
        finding = await following.look(row, quiet=orphan.quiet)
        at = max(self._clock(), row.updated_at)
        if finding.steps:
            settled = finding.outcome.settled and incident.ended_at is not None
            told = [row_message(incident, row, finding, at)] if settled else []
            await self._store.sweep_row(row, finding, proposal_entries(row, finding, at), told)
        if not finding.outcome.settled:
            await self._store.look_again(row.operation_id)
        return finding

    async def _look(self, row: LedgerRow, *, quiet: bool) -> Finding:
        target = row.change.target
        cluster = self._clusters.get(target.cluster)
        if cluster is None:
            return unreachable(row, f"no identity for cluster {target.cluster} is configured here")
        try:
            live = await _find(cluster, target)
        except CortexError as error:
            return unreachable(row, redact(str(error)).text)
        return judge(row, live, quiet=quiet)

    async def _take_back(self, remediation: Remediation, incident: Incident, row: LedgerRow) -> str:
        """The same undo that the workflow would have asked for, with its own ledger steps and audit rows."""
        step = Step(incident_id=row.incident_id, attempt=row.attempt, step=row.step)
        order = CompensateInput(
            step=step, operation_id=row.operation_id, limits=self._limits, subject=incident.resource
        )
        result = await remediation.compensate(order)
        return f"{_TAKEN_BACK if result.done else 'not taken back'}: {result.detail}"


_TAKEN_BACK = "taken back"
_OF_PROPOSALS = frozenset({Outcome.WAITING, Outcome.VERIFIED, Outcome.DECLINED})


async def _find(cluster: ReadableCluster, ref: ResourceRef) -> JSON | None:
    try:
        return await cluster.get(ref.kind, ref.namespace, ref.name)
    except NotFound:
        return None
