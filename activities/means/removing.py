"""Deleting one very object, and evicting one very pod."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from activities.means import Judged, Progress, Taken, find, not_reversible
from cortexops.domain.change import Change, DiffLine, PodRef, diff
from cortexops.domain.errors import Rejected, TemporaryError
from cortexops.domain.ledger import Effect, LedgerRow, effect_of_delete
from cortexops.domain.resource import JSON
from cortexops.domain.snapshot import shown
from cortexops.ports.cluster import WritableCluster

_GOING = ({"exists": True}, {"exists": False})
_BUDGET = "disruption budget"
"""The API server's words for an eviction (429) that a PodDisruptionBudget forbids. Every other 429 is load."""
_SEVERAL = "more than one PodDisruptionBudget"


class BudgetExhausted(Rejected):
    """A disruption budget forbids the eviction now."""


class Deleting:
    def bound(self, change: Change, operation: str) -> Change:
        return change.model_copy(update={"operation_id": operation})

    async def judge(self, cluster: WritableCluster, change: Change, live: JSON) -> Judged:
        await self._remove(cluster, change, dry_run=True)
        return Judged(tuple(diff(*_GOING)), shown(*_GOING), change)

    async def effect(self, cluster: WritableCluster, row: LedgerRow) -> tuple[Effect, JSON | None]:
        live = await find(cluster, row.change.target)
        return effect_of_delete(row.change, live), live

    async def send(
        self, cluster: WritableCluster, row: LedgerRow, live: JSON | None, progress: Progress
    ) -> str:
        await self._remove(cluster, row.change)
        return ""

    async def take_back(self, cluster: WritableCluster, row: LedgerRow) -> Taken:
        return not_reversible(row)

    async def _remove(self, cluster: WritableCluster, change: Change, *, dry_run: bool = False) -> None:
        target = change.target
        await cluster.delete(target.kind, target.namespace, target.name, uid=change.uid, dry_run=dry_run)


class Evicting(Deleting):
    async def _remove(self, cluster: WritableCluster, change: Change, *, dry_run: bool = False) -> None:
        target = change.target
        await evict(cluster, PodRef(namespace=target.namespace, name=target.name, uid=change.uid), dry_run)


def going(pods: Sequence[PodRef]) -> tuple[DiffLine, ...]:
    """How people are shown that these pods go."""
    return tuple(DiffLine(path=f"/pods/{pod.namespace}~1{pod.name}", before=f'"{pod.uid}"') for pod in pods)


async def may_evict(cluster: WritableCluster, pods: Sequence[PodRef]) -> None:
    """Raises `Forbidden` where evicting them is not permitted; a budget may have room later."""
    for pod in {pod.namespace: pod for pod in pods}.values():
        with suppress(BudgetExhausted):
            await evict(cluster, pod, dry_run=True)


async def evict(cluster: WritableCluster, pod: PodRef, dry_run: bool = False) -> None:
    """Ask for the eviction of that very pod. Raises `BudgetExhausted` when a budget forbids it, and what
    deleting raises besides."""
    body: JSON = {
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }
    try:
        await cluster.create(
            "Pod", pod.namespace, body, subresource="eviction", name=pod.name, dry_run=dry_run
        )
    except TemporaryError as error:
        if _BUDGET in str(error).lower():
            raise BudgetExhausted(str(error)) from None
        if _SEVERAL in str(error):  # a 500 that no repetition mends
            raise Rejected(str(error)) from None
        raise
