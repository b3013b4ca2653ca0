"""Starting the pods of a patch anew, so that they read what it wrote: by evictions, as their budgets allow.

Pods that do not serve, since they crash with the earlier value, go at once. Those that serve go one after the
other (of large workloads a tenth at a time), each only while its controller has the ready pods that it wants, and
more than one: a workload never loses all of them. Whoever must stay is left to a person.

What is left to do is read from the cluster, so a run that dies goes on where it stopped. A run lasts less than
the activity's time-out and then asks to be called again.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from activities.errors import told
from activities.means import Taken, find
from activities.means.removing import BudgetExhausted, evict
from activities.patience import AGAIN
from cortexops.domain.blast import replica_count
from cortexops.domain.change import Change, PodRef, Verb
from cortexops.domain.errors import Conflict, Forbidden, NotFound, Rejected, TemporaryError
from cortexops.domain.health import measure_place
from cortexops.domain.holding import crashed_with, holds_from_before, key_of
from cortexops.domain.kubernetes.meta import created, deleting_since, writes
from cortexops.domain.kubernetes.pods import is_ready
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.ledger import LedgerRow
from cortexops.domain.resource import JSON
from cortexops.domain.verification import Phase
from cortexops.domain.words import counted
from cortexops.ports.cluster import WritableCluster

_RUN = timedelta(seconds=40)
"""One call's time; well below the activity's time-out."""
_PAUSE = 2.0  # seconds between rounds, for successors to become ready
_STARTS = timedelta(minutes=6)
"""So long a successor is waited for. One that is not ready by then says that the value does not help."""
_DEADLINE = timedelta(minutes=20)
"""After this nothing more is evicted; well below the time that applying may take in all."""
_FOLLOWS = timedelta(seconds=30)
"""So long after an eviction its successor may not even be made."""


_AT_A_TIME = 10
"""Of so many pods one more may be away at once, so that large workloads are done in time."""
_COUNTING = ("ReplicaSet", "StatefulSet", "DaemonSet")
"""Controllers that say how many pods they want."""


class Restarted(NamedTuple):
    """What is to be told, and by which commands a person starts those anew that run with the earlier value."""

    said: str
    by_hand: tuple[str, ...] = ()


class _Controller(NamedTuple):
    kind: str
    name: str
    uid: str


async def restart(
    cluster: WritableCluster, row: LedgerRow, *, run: timedelta = _RUN, pause: float = _PAUSE
) -> Restarted:
    """Evict the pods of the change, each once; what became of them. Raises `TemporaryError` when its time is up
    and it is to be called again."""
    until, deadline = _now() + run, row.created_at + _DEADLINE
    evicted: dict[_Controller, datetime] = {}
    while True:
        live, crews = await _look(cluster, row)
        if live is None or measure_place(row.change, live, now=_now()).phase is not Phase.SUCCESSFUL:
            return Restarted(_told(row.change, crews, "somebody changed the value meanwhile"))
        waiting, busy = await _round(cluster, row, crews, evicted, until)
        now = _now()
        if now > deadline:
            return _left(row, live, crews, "there was no time for more")
        if busy is not None:
            raise busy
        if not waiting:
            return _left(
                row, live, crews, "the only one that is ready of its workload, or it may not be evicted"
            )
        if now > until:
            text_ = f"{counted(len(waiting), 'pod')} that read {row.change.target} are still to be restarted"
            raise TemporaryError(text_, delay=timedelta(seconds=pause))
        await asyncio.sleep(pause)


async def _look(cluster: WritableCluster, row: LedgerRow) -> tuple[JSON | None, _Crews]:
    """The object and the pods beside it. Moments ago they could be read: a server that has just started may not
    have read its roles yet, so it is asked again."""
    try:
        found = (await cluster.list("Pod", row.change.target.namespace)).items
        return await find(cluster, row.change.target), _Crews(cluster, row.change, found)
    except Forbidden as error:
        if _now() > row.created_at + _DEADLINE:
            raise
        raise TemporaryError(told(error), delay=AGAIN) from error


def still_used(row: LedgerRow, taken: Taken) -> Taken:
    """The undo, with what it does not undo."""
    if not taken.done or row.change.verb is not Verb.PATCH or not row.change.pods:
        return taken
    stays = "pods that were restarted for it keep the value that was taken back until they start again"
    return taken._replace(detail=f"{taken.detail}; {stays}")


class _Crews:
    """The pods beside the change as one listing showed them, by their controllers."""

    def __init__(self, cluster: WritableCluster, change: Change, found: Sequence[JSON]) -> None:
        self._cluster, self._target = cluster, change.target
        self._planned = {ref.uid for ref in change.pods}
        self._wanted: dict[_Controller, int] = {}
        self._ending = {_controller(pod) for pod in found if deleting_since(pod) is not None}
        self.there = {text(pod, "metadata", "uid"): pod for pod in found if deleting_since(pod) is None}

    async def spares(self, pod: JSON) -> bool:
        """Whether its controller has all the ready pods that it wants, and more than this one."""
        controller = _controller(pod)
        if controller not in self._wanted:
            target = self._target.model_copy(update={"kind": controller.kind, "name": controller.name})
            live = await find(self._cluster, target) if controller.kind in _COUNTING else None
            self._wanted[controller] = replica_count(live | {"kind": target.kind}) if live is not None else 0
        wanted = self._wanted[controller]
        return (
            wanted > 1 and sum(_serves(one) for one in self._of(controller)) >= wanted - wanted // _AT_A_TIME
        )

    def is_moving(self, pod: JSON) -> bool:
        """Whether its controller is about to have another ready pod: one goes, or its successor starts."""
        controller = _controller(pod)
        return controller in self._ending or any(
            _lately(created(one), _STARTS)
            for one in self._of(controller)
            if text(one, "metadata", "uid") not in self._planned
        )

    def _of(self, controller: _Controller) -> list[JSON]:
        return [one for one in self.there.values() if _controller(one) == controller]


async def _round(
    cluster: WritableCluster,
    row: LedgerRow,
    crews: _Crews,
    evicted: dict[_Controller, datetime],
    until: datetime,
) -> tuple[list[PodRef], TemporaryError | None]:
    """Evict those that may go now; those that may go later. A server that is busy with one pod is asked about the
    others nevertheless, and its error is handed over."""
    change, waiting, busy, asked = row.change, [], None, False
    for ref in change.pods:
        pod = crews.there.get(ref.uid)
        if pod is None:
            continue
        if asked and _now() > until:
            waiting.append(ref)
            continue
        crashed = crashed_with(pod, change.target, key_of(change), row.created_at)
        moving = crews.is_moving(pod) or _lately(evicted.get(_controller(pod)), _FOLLOWS)
        # whatever forbids it for good: the change itself is made, and who holds the earlier value is told
        with suppress(Rejected, Forbidden, NotFound, Conflict):
            if (not _serves(pod) and (crashed or not moving)) or await crews.spares(pod):
                asked = True
                try:
                    await evict(cluster, ref)
                    del crews.there[ref.uid]
                    evicted[_controller(pod)] = _now()
                    continue
                except BudgetExhausted:
                    pass  # it may have room again when another pod is ready
                except TemporaryError as error:
                    busy = error
                    continue
            if moving and (_serves(pod) or not crashed):  # what crashes starts anew by itself
                waiting.append(ref)
    return waiting, busy


def _controller(pod: JSON) -> _Controller:
    for one in objects(pod, "metadata", "ownerReferences"):
        if one.get("controller") is True:
            return _Controller(text(one, "kind"), text(one, "name"), text(one, "uid"))
    return _Controller("", "", text(pod, "metadata", "uid"))


def _serves(pod: JSON) -> bool:
    """Whether it is ready, by its condition and by its containers: the one lags behind the others."""
    return is_ready(pod) and all(one.get("ready") for one in objects(pod, "status", "containerStatuses"))


def _lately(at: datetime | None, span: timedelta) -> bool:
    return at is not None and at > _now() - span


def _left(row: LedgerRow, live: JSON, crews: _Crews, why: str) -> Restarted:
    """The end. Who runs with what it took before the change is left to a person."""
    key, target = key_of(row.change), row.change.target
    write = writes(live, "data", key)
    since = write.at if write is not None else row.created_at
    by_hand = tuple(
        f"kubectl -n {shlex.quote(ref.namespace)} delete pod {shlex.quote(ref.name)}"
        for ref in row.change.pods
        if (pod := crews.there.get(ref.uid)) is not None and holds_from_before(pod, target, key, since)
    )
    return Restarted(_told(row.change, crews, why), by_hand)


def _told(change: Change, crews: _Crews, why: str) -> str:
    left = [str(pod) for pod in change.pods if pod.uid in crews.there]
    done = len(change.pods) - len(left)
    said = [f"{counted(done, 'pod')} evicted, to start with it at once"] if done else []
    if left:
        said.append(f"{counted(len(left), 'pod')} stayed ({why}): {', '.join(left[:5])}")
    return "; ".join(said)


def _now() -> datetime:
    return datetime.now(UTC)
