"""Emptying a node: cordon it, then evict the pods that the plan names, as their budgets allow.

Nothing is kept in memory. What is left to do is read from the cluster each time, so a run that dies goes on
where it stopped: a pod that is gone or going is never evicted again, and a successor of the same name is
another pod. A run lasts less than the activity's time-out and then asks to be called again; after the plan's
deadline it stops and says which pods stayed and why. It stops as well once the node takes pods again: whoever
uncordoned it wants it in service, so it is neither cordoned again nor emptied further.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio import activity

from activities.errors import told
from activities.means import Progress, Taken, find
from activities.means.patching import Patching, send_agreed
from activities.means.removing import BudgetExhausted, evict
from cortexops.domain.change import Change, PodRef, carries
from cortexops.domain.errors import Conflict, Forbidden, NotFound, Rejected, TemporaryError
from cortexops.domain.ledger import Effect, LedgerRow, effect_of_patch
from cortexops.domain.resource import JSON
from cortexops.domain.words import counted
from cortexops.ports.cluster import WritableCluster

_RUN = timedelta(seconds=40)
"""One call's time; well below the activity's time-out, so that progress is never cut off."""
_PAUSE = 2.0  # seconds between rounds, for budgets to have room again
DEADLINE = timedelta(minutes=20)
"""After this nothing more is evicted; well below the time that applying may take in all."""


class Draining(Patching):
    def __init__(self, run: timedelta = _RUN, pause: float = _PAUSE) -> None:
        self._run = run
        self._pause = pause

    async def effect(self, cluster: WritableCluster, row: LedgerRow) -> tuple[Effect, JSON | None]:
        live = await find(cluster, row.change.target)
        found = effect_of_patch(row.change, live)
        if found is Effect.DONE and await self._left(cluster, row.change):
            return Effect.NOT_DONE, live
        return found, live

    async def send(
        self, cluster: WritableCluster, row: LedgerRow, live: JSON | None, progress: Progress
    ) -> str:
        change = row.change
        if live is None or not carries(live, change.operation_id):
            await send_agreed(cluster, change, live or {})
        begun = datetime.now(UTC)
        blocked: dict[PodRef, str] = {}
        while left := await self._left(cluster, change):
            try:
                if why := await _given_back(cluster, change):
                    return _partly(change, left, {}, why)
                blocked = await self._round(cluster, left, progress)
            except (Forbidden, Rejected) as error:
                return _partly(change, left, {left[0]: told(error)})
            if activity.in_activity():
                activity.heartbeat({"left": len(blocked), "of": len(change.pods)})
            now = datetime.now(UTC)
            if now > row.created_at + DEADLINE:
                return _partly(change, await self._left(cluster, change), blocked)
            if blocked and now > begun + self._run:
                raise TemporaryError(
                    f"{counted(len(blocked), 'pod')} of {change.target} wait for their budgets",
                    delay=timedelta(seconds=self._pause),
                )
            if blocked:
                await asyncio.sleep(self._pause)
        return f"{counted(len(change.pods), 'pod')} evicted"

    async def _round(
        self, cluster: WritableCluster, left: list[PodRef], progress: Progress
    ) -> dict[PodRef, str]:
        """Ask once for each; those that a budget holds back, with what it said."""
        blocked: dict[PodRef, str] = {}
        for pod in left:
            try:
                await evict(cluster, pod)
            except BudgetExhausted as error:
                blocked[pod] = told(error)
                continue
            except (NotFound, Conflict):
                continue  # it is gone, or another has its name
            await progress(pod.uid, f"{pod} was evicted")
        return blocked

    async def _left(self, cluster: WritableCluster, change: Change) -> list[PodRef]:
        """The plan's pods that are on the node and not going yet."""
        found = await cluster.list("Pod", fields=f"spec.nodeName={change.target.name}")
        staying = {
            str(pod["metadata"].get("uid")): pod
            for pod in found.items
            if not pod["metadata"].get("deletionTimestamp")
        }
        return [pod for pod in change.pods if pod.uid in staying]

    async def take_back(self, cluster: WritableCluster, row: LedgerRow) -> Taken:
        taken = await super().take_back(cluster, row)
        if not taken.done or not row.change.pods:
            return taken
        stays = "pods that were evicted do not come back to the node by that"
        return taken._replace(detail=f"{taken.detail}; {stays}")


async def _given_back(cluster: WritableCluster, change: Change) -> str:
    """Why nothing more is evicted: the node is not the cordoned one of the plan any more. Or nothing."""
    node = await find(cluster, change.target)
    if node is None or node["metadata"].get("uid") != change.uid:
        return f"{change.target} is gone or was replaced"
    if not (node.get("spec") or {}).get("unschedulable"):
        return f"somebody uncordoned {change.target} meanwhile"
    return ""


def _partly(change: Change, left: list[PodRef], blocked: dict[PodRef, str], why: str = "") -> str:
    done = len(change.pods) - len(left)
    why = why or "; ".join(f"{pod}: {blocked[pod]}" for pod in left if pod in blocked)
    return f"{done} of {counted(len(change.pods), 'pod')} evicted, {len(left)} stayed" + (
        f" ({why})" if why else ""
    )
