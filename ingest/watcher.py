"""Watches clusters for Warning events, troubled pods and nodes that are not ready, and for their recovery.

Of each kind one list, page by page, then a watch from its version. A watch that ends goes on from the last
version that was dealt with: an event's or a bookmark's. One that is too old (410) begins with a list again, and
what is missing from that list was deleted meanwhile. So nothing is skipped; and nothing is told twice, because
the same trouble has the same id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from cortexops.domain.errors import Conflict, InvalidInput, PermanentError, TemporaryError
from cortexops.domain.resource import JSON
from cortexops.domain.signal import Signal
from cortexops.ports.bus import SignalSink
from cortexops.ports.cluster import ReadableCluster, WatchEvent
from cortexops.telemetry import get_logger
from ingest.sources.kubernetes import GRACE
from ingest.tasks import end, ended
from ingest.watch_batches import batches
from ingest.watch_outbox import Outbox
from ingest.watch_state import WatchState

KINDS = ("Event", "Pod", "Node")
_FIELDS = {"Event": "type=Warning"}
_WATCH_SECONDS = 300
_PAGE = 500
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_LASTED = 5.0  # seconds after which a watch counts as having worked

_log = get_logger(__name__)


class KubernetesWatcher:
    """One cluster's own signals. `start` returns at once; the cluster may be away."""

    def __init__(
        self,
        cluster: ReadableCluster,
        bus: SignalSink,
        *,
        grace: timedelta = GRACE,
        tick: float = 5.0,
        watch_seconds: int = _WATCH_SECONDS,
    ) -> None:
        """`grace`: how long a pod may be unready, and must be well to count as mended; `tick`: seconds
        between looks at what time alone changes; `watch_seconds`: how long one watch is asked to last, which
        bounds how long a server that has gone without a word goes unnoticed."""
        self._cluster = cluster
        self._tick = tick
        self._watch_seconds = watch_seconds
        self._outbox = Outbox(bus)
        self._state = WatchState(cluster.name, grace)
        self._listed: set[str] = set()
        self._problems: dict[str, str] = {kind: f"{kind}: not listed yet" for kind in KINDS}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._follow(kind), name=f"watch-{kind}") for kind in KINDS]
        self._tasks.append(asyncio.create_task(self._look_again(), name="watch-grace"))

    async def stop(self) -> None:
        await end(*self._tasks)
        self._tasks = []

    def healthy(self) -> str | None:
        """None when every kind is being watched and the bus takes signals, else the first problem."""
        return ended(self._tasks) or self._outbox.problem or next(iter(self._problems.values()), None)

    async def _follow(self, kind: str) -> None:
        version = ""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            delay = 0.0
            try:
                if not version:
                    version = await self._list(kind)
                self._problems.pop(kind, None)
                async with aclosing(self._watch(kind, version)) as watch:
                    async for batch in watch:
                        await self._take(kind, batch)
                        version = next((e.version for e in reversed(batch) if e.version), version)
                        pause = _FIRST_PAUSE
            except Conflict as error:  # too old: everything may have changed since
                _log.info("watch begins anew", cluster=self._cluster.name, kind=kind, reason=str(error))
                version = ""
            except (TemporaryError, PermanentError) as error:
                self._problems[kind] = f"{kind}: {error}"
                _log.warning("watch broken", cluster=self._cluster.name, kind=kind, error=str(error))
                if isinstance(error, PermanentError):
                    version = ""
                    pause = _LONGEST_PAUSE
                else:
                    delay = error.delay.total_seconds()
            if time.monotonic() - began > _LASTED:
                pause = _FIRST_PAUSE
            # A watch that ends at once must not become a busy loop either.
            await asyncio.sleep(min(max(pause, delay), _LONGEST_PAUSE))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _watch(self, kind: str, version: str) -> AsyncGenerator[list[WatchEvent], None]:
        return batches(
            self._cluster.watch(
                kind,
                resource_version=version,
                timeout_seconds=self._watch_seconds,
                fields=_FIELDS.get(kind, ""),
            )
        )

    async def _list(self, kind: str) -> str:
        """See all objects, one page at a time; the version to watch from. Raises as `pages` does."""
        first = kind not in self._listed
        missing = self._state.uids(kind)
        version = ""
        async with aclosing(self._cluster.pages(kind, fields=_FIELDS.get(kind, ""), limit=_PAGE)) as pages:
            async for page in pages:
                version = page.resource_version
                missing.difference_update(_uid(item) for item in page.items)
                now = datetime.now(UTC)
                await self._outbox.send(self._seen(kind, page.items, now, first=first))
        self._listed.add(kind)
        now = datetime.now(UTC)
        for uid in missing:
            await self._outbox.send(self._state.gone({"metadata": {"uid": uid}}, now))
        return version

    async def _take(self, kind: str, batch: list[WatchEvent]) -> None:
        """Tell what a batch amounts to, in one message; while the bus is away, wait: nothing is skipped."""
        now = datetime.now(UTC)
        told: list[Signal] = []
        for event in batch:
            if event.type in {"ADDED", "MODIFIED"}:
                told += self._seen(kind, [event.object], now)
            elif event.type == "DELETED" and kind != "Event":
                told += self._gone(event.object, now)
        await self._outbox.send(told)

    def _seen(self, kind: str, items: Iterable[JSON], now: datetime, *, first: bool = False) -> list[Signal]:
        told: list[Signal] = []
        for item in items:
            try:
                told += self._state.see({**item, "kind": kind}, now, first=first)
            except InvalidInput as error:
                _log.info("object not understood", cluster=self._cluster.name, error=str(error))
        return told

    def _gone(self, item: JSON, now: datetime) -> list[Signal]:
        try:
            return self._state.gone(item, now)
        except InvalidInput as error:
            _log.info("object not understood", cluster=self._cluster.name, error=str(error))
            return self._state.gone({"metadata": {"uid": _uid(item)}}, now)

    async def _look_again(self) -> None:
        """Pods that stay unready, or stay well, send no news of it; time alone makes it worth a signal."""
        while True:
            await asyncio.sleep(self._tick)
            try:
                await self._outbox.send(self._state.due(datetime.now(UTC)))
                self._problems.pop("grace", None)
            except PermanentError as error:
                self._problems["grace"] = f"signals refused: {error}"
                _log.error("signals refused", cluster=self._cluster.name, error=str(error))


def _uid(item: JSON) -> str:
    return str((item.get("metadata") or {}).get("uid"))


class Watchers:
    """All clusters that are watched, each by itself: one that is slow or dead delays no other."""

    def __init__(
        self,
        clusters: Mapping[str, ReadableCluster],
        bus: SignalSink,
        *,
        grace: timedelta = GRACE,
        tick: float = 5.0,
        watch_seconds: int = _WATCH_SECONDS,
    ) -> None:
        """`clusters` by name; the options are those of `KubernetesWatcher`."""
        self._watchers = {
            name: KubernetesWatcher(cluster, bus, grace=grace, tick=tick, watch_seconds=watch_seconds)
            for name, cluster in clusters.items()
        }

    async def start(self) -> None:
        """Returns at once, whatever state the clusters are in."""
        for watcher in self._watchers.values():
            await watcher.start()

    async def stop(self) -> None:
        await asyncio.gather(*(watcher.stop() for watcher in self._watchers.values()))

    def health(self) -> dict[str, str | None]:
        """By cluster: None when it is being watched, else what is wrong."""
        return {name: watcher.healthy() for name, watcher in self._watchers.items()}

    def healthy(self) -> str | None:
        """None when all are well, else the problems of those that are not, by name."""
        ill = [f"{name}: {problem}" for name, problem in self.health().items() if problem is not None]
        return "; ".join(ill) or None
