"""Watches a cluster for Warning events, troubled pods and nodes that are not ready.

One list, then a watch from its version; a watch that ends goes on from the last version seen, and one that is
too old (410) begins with a list again. Seeing the same trouble twice is harmless: its id is the same.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta

from cortexops.domain.errors import Conflict, InvalidInput, PermanentError, TemporaryError
from cortexops.domain.resource import JSON
from cortexops.domain.signal import Signal
from cortexops.ports.bus import SignalSink
from cortexops.ports.cluster import ReadableCluster
from cortexops.telemetry import get_logger
from ingest.accept import accept
from ingest.sources.kubernetes import GRACE, object_signals, waits_for_grace

KINDS = ("Event", "Pod", "Node")
_WATCH_SECONDS = 300
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_LASTED = 5.0  # seconds after which a watch counts as having worked
_REMEMBERED = 20_000  # ids
_MOST_WAITING = 10_000  # pods that may still become worth a signal

_log = get_logger(__name__)


class KubernetesWatcher:
    """One cluster's own signals. `start` returns at once; the cluster may be away."""

    def __init__(
        self, cluster: ReadableCluster, bus: SignalSink, *, grace: timedelta = GRACE, tick: float = 5.0
    ) -> None:
        """`grace`: how long a pod may be unready; `tick`: seconds between looks at those that are."""
        self._cluster = cluster
        self._bus = bus
        self._grace = grace
        self._tick = tick
        self._sent: OrderedDict[str, None] = OrderedDict()
        self._unready: OrderedDict[str, JSON] = OrderedDict()
        self._problems: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._follow(kind), name=f"watch-{kind}") for kind in KINDS]
        self._tasks.append(asyncio.create_task(self._look_again(), name="watch-grace"))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def healthy(self) -> str | None:
        """None when every kind is being watched, else the first problem."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                return f"{task.get_name()} has ended"
        return next(iter(self._problems.values()), None)

    async def _follow(self, kind: str) -> None:
        version = ""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                if not version:
                    version = await self._list(kind)
                    pause = _FIRST_PAUSE
                self._problems.pop(kind, None)
                watch = self._cluster.watch(kind, resource_version=version, timeout_seconds=_WATCH_SECONDS)
                async for event in watch:
                    metadata = event.object.get("metadata") or {}
                    if event.type in {"ADDED", "MODIFIED"}:
                        await self._see({"kind": kind, **event.object})
                    elif event.type == "DELETED":
                        self._unready.pop(str(metadata.get("uid")), None)
                    version = str(metadata.get("resourceVersion") or version)
                    pause = _FIRST_PAUSE
            except Conflict:  # too old: everything may have changed since
                version = ""
                continue
            except (TemporaryError, PermanentError) as error:
                self._problems[kind] = f"{kind}: {error}"
                _log.warning("watch broken", cluster=self._cluster.name, kind=kind, error=str(error))
                if isinstance(error, PermanentError):
                    version = ""
                    pause = _LONGEST_PAUSE
            if time.monotonic() - began > _LASTED:
                pause = _FIRST_PAUSE
            # A watch that ends at once must not become a busy loop either.
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _list(self, kind: str) -> str:
        fields = "type=Warning" if kind == "Event" else ""
        listed = await self._cluster.list(kind, fields=fields)
        if kind == "Pod":
            self._unready.clear()
        for item in listed.items:
            await self._see({"kind": kind, **item})
        return listed.resource_version

    async def _see(self, item: JSON) -> None:
        """Publish what the object complains of; while the bus is away, wait: nothing is skipped."""
        now = datetime.now(UTC)
        if item["kind"] == "Pod":
            uid = str((item.get("metadata") or {}).get("uid"))
            self._unready.pop(uid, None)
            if waits_for_grace(item):
                self._unready[uid] = item
                if len(self._unready) > _MOST_WAITING:
                    self._unready.popitem(last=False)
        try:
            signals = object_signals(item, self._cluster.name, now, grace=self._grace)
        except InvalidInput as error:
            _log.info("object not understood", cluster=self._cluster.name, error=str(error))
            return
        fresh = [signal for signal in signals if signal.id not in self._sent]
        if fresh:
            await self._publish(fresh)

    async def _publish(self, signals: list[Signal]) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await accept(self._bus, signals)
                break
            except TemporaryError as error:
                self._problems["bus"] = f"bus: {error}"
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        self._problems.pop("bus", None)
        for signal in signals:
            self._sent[signal.id] = None
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    async def _look_again(self) -> None:
        """Pods that stay unready send no news of it; time alone makes them worth a signal."""
        while True:
            await asyncio.sleep(self._tick)
            for item in list(self._unready.values()):
                await self._see(item)
