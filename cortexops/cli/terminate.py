"""Stopping one incident's automation, with what the sweeper does afterwards done at once."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cortexops.adapters import temporal
from cortexops.adapters.postgres import PostgresStore
from cortexops.cli.common import found, settings
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.errors import CortexError, TemporaryError
from cortexops.domain.incident import Incident, Reason
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.sweep import Outcome, RunState
from cortexops.settings import Settings

if TYPE_CHECKING:
    from cortexops.ports.cluster import ReadableCluster

_LEFT = (LedgerState.INTENT, LedgerState.APPLIED, LedgerState.UNKNOWN)


class Stopped(NamedTuple):
    """Changes left half done, and of each operation that was looked at, what was found."""

    left: list[LedgerRow]
    found: dict[str, str]

    def told(self, row: LedgerRow) -> str:
        """The change in one line."""
        found = self.found.get(row.operation_id)
        return f"{row.action}: {row.state}" + (f": {found}" if found else "")


async def stop_incident(incident_id: str, reason: str) -> Stopped:
    """Terminate the workflow, look at what it left, pull requests among it, and end the incident.

    Where this machine cannot reach the cluster, or Git and its provider, the sweeper looks within a minute.
    Raises `NotFound` for an unknown incident, `TemporaryError` when Temporal does not answer.
    """
    from activities.notifiers import build_notifiers
    from activities.sweeping import BookSweeping, RowSweeping
    from cortexops.adapters.git_forge import GitForge
    from cortexops.adapters.temporal_runs import Runs

    configured = settings()
    forge = GitForge(configured.git)  # without repositories it says so of each pull request
    store = await PostgresStore.connect(
        configured.postgres.dsn.get_secret_value(), notifiers=tuple(build_notifiers(configured))
    )
    try:
        incident = found(await store.incident(incident_id), incident_id)
        client = await temporal.connect(configured.temporal)
        await _terminate(client, incident, reason)
        runs = Runs(client, store.run_is_known)
        run = await runs.of(incident)
        if run.state is RunState.RUNNING:
            raise TemporaryError(
                f"{incident_id} runs again under another run: it was reset; terminate that one"
            )
        books = BookSweeping(store, runs, grace=timedelta(seconds=configured.sweep.grace_seconds))
        orphan = books.orphan(incident, run, len(await store.unswept(incident_id)))
        seen: dict[str, str] = {}
        if orphan.rows:
            rows = await store.unswept(incident_id)
            async with _clusters(configured, incident) as clusters:
                settled = await RowSweeping(store, clusters, forge=forge).settle(orphan)
            for row, outcome, detail in zip(rows, settled.outcomes, settled.details, strict=False):
                later = "; the sweeper asks again" if outcome is Outcome.UNREACHABLE else ""
                seen[row.operation_id] = f"{detail}{later}"
        by = AuditEntry(
            chain=incident_id,
            type=AuditType.TERMINATED,
            reason=Reason.TERMINATED,
            detail=reason,
            actor=getpass.getuser(),
            at=datetime.now(UTC),
            idempotency_key=f"{incident.run_id}:terminated",
        )
        closed = await books.close(orphan, by=by)
        if not closed.closed:  # it had ended: that somebody wanted it stopped is written down all the same
            await store.append([by])
        left = [row for row in await store.rows_of(incident_id) if row.state in _LEFT]
        return Stopped(left, seen)
    finally:
        await store.close()


async def _terminate(client: Client, incident: Incident, reason: str) -> None:
    handle = client.get_workflow_handle(incident.key, run_id=incident.run_id)
    try:
        await handle.terminate(reason=reason, rpc_timeout=timedelta(seconds=10))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended: nothing runs, as was asked
            raise TemporaryError(f"Temporal refuses: {error.message}") from None


@asynccontextmanager
async def _clusters(configured: Settings, incident: Incident) -> AsyncIterator[dict[str, ReadableCluster]]:
    """The incident's cluster with the reading identity; nothing when it cannot be reached from here."""
    from cortexops.adapters.kubernetes import KubernetesCluster

    name = incident.resource.cluster
    try:
        wanted = configured.cluster(name)
        cluster = await KubernetesCluster.connect(
            name, kubeconfig=str(wanted.kubeconfig) if wanted.kubeconfig else None, context=wanted.context
        )
    except CortexError:
        yield {}
        return
    try:
        yield {name: cluster}
    finally:
        await cluster.close()
