"""Reads what was suggested and not done from the books, and what the objects say now from the clusters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Protocol

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.audit import AuditEvent
from cortexops.domain.errors import CortexError, NotFound
from cortexops.domain.incident import Incident
from cortexops.domain.policy import Effect
from cortexops.domain.policy_replay import Recorded, recorded
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.shadow import Compared, Comparison, Suggestion, compare
from cortexops.ports.cluster import ReadableCluster
from cortexops.ports.store import IncidentStore, LedgerStore
from cortexops.ports.switches import HistoryStore
from cortexops.settings import Settings

AFTERWARDS = timedelta(hours=24)
"""So long after an incident has ended, what people do to its object may still be about it."""


class Books(HistoryStore, IncidentStore, LedgerStore, Protocol):
    """What is needed of the store."""


@asynccontextmanager
async def readers(settings: Settings) -> AsyncIterator[dict[str, KubernetesCluster]]:
    """A reading client for each configured cluster."""
    async with AsyncExitStack() as stack:
        found = {}
        for cluster in settings.clusters:
            client = await KubernetesCluster.connect(
                cluster.name,
                kubeconfig=str(cluster.kubeconfig) if cluster.kubeconfig else None,
                context=cluster.context,
            )
            stack.push_async_callback(client.close)
            found[cluster.name] = client
        yield found


async def compared(books: Books, clusters: Mapping[str, ReadableCluster], since: datetime) -> list[Compared]:
    """Each incident's last suggestion that nobody carried out for us, beside what happened to the object."""
    last: dict[str, tuple[AuditEvent, Recorded]] = {}
    async for event in books.decisions(since):
        before = recorded(event)
        if before is not None:
            last[event.chain] = (event, before)
    found = []
    for incident_id, (event, before) in sorted(last.items()):
        incident = await books.incident(incident_id)
        if incident is None or incident.drill or await books.rows_of(incident_id):
            continue  # something was done: then the ledger tells
        found.append(await _one(_suggestion(event, before, incident), before, clusters))
    return found


def _suggestion(event: AuditEvent, before: Recorded, incident: Incident) -> Suggestion:
    return Suggestion(
        incident_id=event.chain,
        at=event.at,
        until=(incident.ended_at or event.at) + AFTERWARDS,
        action=str(before.question.action),
        effect=Effect(event.data["effect"]),
        reasons=tuple(event.data["reasons"]),
        planned=before.question.diff,
    )


async def _one(suggestion: Suggestion, before: Recorded, clusters: Mapping[str, ReadableCluster]) -> Compared:
    target = before.question.action.target
    cluster = clusters.get(target.cluster)
    if cluster is None:
        return _unknown(suggestion, f"no cluster {target.cluster} is configured here")
    try:
        return compare(suggestion, await _live(cluster, target))
    except CortexError as error:
        return _unknown(suggestion, f"the object cannot be read: {error}")


async def _live(cluster: ReadableCluster, target: ResourceRef) -> JSON | None:
    try:
        return await cluster.get(target.kind, target.namespace, target.name)
    except NotFound:
        return None


def _unknown(suggestion: Suggestion, why: str) -> Compared:
    return Compared(suggestion=suggestion, comparison=Comparison.UNKNOWN, detail=why)
