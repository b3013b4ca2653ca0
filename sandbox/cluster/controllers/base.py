"""What every control loop shares: the client, the caches, the queue, and how failures are retried."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence

from cortexops.domain.errors import Conflict, CortexError, NotFound, TemporaryError
from cortexops.domain.resource import JSON, KINDS
from cortexops.ports.cluster import PatchType, WritableCluster
from sandbox.cluster.controllers.clock import Clock
from sandbox.cluster.controllers.events import EventRecorder, Occurrence, reference
from sandbox.cluster.controllers.informer import Informers
from sandbox.cluster.controllers.objects import controller_of, key_of, split_key
from sandbox.cluster.controllers.workqueue import WorkQueue

_log = logging.getLogger(__name__)


class Context:
    """The client with its caches. Every write's answer goes into the cache before the caller goes on."""

    def __init__(self, cluster: WritableCluster, clock: Clock) -> None:
        self.cluster = cluster
        self.clock = clock
        self.informers = Informers(cluster)
        self.events = EventRecorder(cluster, clock)
        self.running = asyncio.Event()
        self.running.set()

    async def create(self, kind: str, body: JSON) -> JSON:
        """Create an object."""
        made = await self.cluster.create(kind, body["metadata"].get("namespace", ""), body)
        self.informers[kind].ingest(made)
        return made

    async def replace(self, kind: str, body: JSON, *, subresource: str = "") -> JSON:
        """Replace an object or its status."""
        meta = body["metadata"]
        made = await self.cluster.replace(
            kind, meta.get("namespace", ""), meta["name"], body, subresource=subresource
        )
        self.informers[kind].ingest(made)
        return made

    async def merge(self, kind: str, obj: JSON, body: JSON, *, subresource: str = "") -> JSON:
        """Merge-patch an object or a subresource."""
        meta = obj["metadata"]
        made = await self.cluster.patch(
            kind,
            meta.get("namespace", ""),
            meta["name"],
            body,
            patch_type=PatchType.MERGE,
            subresource=subresource,
        )
        if made.get("kind") == kind:
            self.informers[kind].ingest(made)
        return made

    async def delete(self, kind: str, obj: JSON, *, grace_seconds: int | None = None) -> None:
        """Delete exactly this object; one already gone is fine."""
        meta = obj["metadata"]
        try:
            await self.cluster.delete(
                kind, meta.get("namespace", ""), meta["name"], uid=meta["uid"], grace_seconds=grace_seconds
            )
        except (NotFound, Conflict):
            return
        self.informers[kind].mark_deleting(key_of(obj))

    def tell(
        self,
        kind: str,
        obj: JSON,
        reason: str,
        message: str,
        component: str,
        *,
        warn: bool = False,
        host: str = "",
    ) -> None:
        """Record an event about `obj`."""
        what = reference(obj, kind, KINDS[kind].versions[0])
        self.events.record(
            Occurrence(what, "Warning" if warn else "Normal", reason, message, component, host)
        )


class Controller(ABC):
    """One level-triggered loop. `reconcile` brings one object closer to what its spec says."""

    workers = 2

    def __init__(self, context: Context) -> None:
        self.context = context
        self.queue = WorkQueue()
        self._tasks: Sequence[asyncio.Task[None]] = ()
        self.register()

    @abstractmethod
    def register(self) -> None:
        """Subscribe to the caches."""

    @abstractmethod
    async def reconcile(self, key: str) -> float | None:
        """Work on one key; answers in how many seconds of wall clock to look again, if at all."""

    async def start(self) -> None:
        """Start the workers."""
        self._tasks = [
            asyncio.create_task(self._work(), name=f"{type(self).__name__}-{number}")
            for number in range(self.workers)
        ]

    async def stop(self) -> list[BaseException]:
        """Stop the workers; answers what killed those that had ended by themselves."""
        self.queue.close()
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        return [
            e for e in ended if isinstance(e, BaseException) and not isinstance(e, asyncio.CancelledError)
        ]

    def enqueue(self, _old: JSON | None, new: JSON | None) -> None:
        """Handler: look at the object itself."""
        obj = new if new is not None else _old
        if obj is not None:
            self.queue.add(key_of(obj))

    def enqueue_owner(self, kind: str) -> None:
        """Look at the controlling owner of every object of `kind` that changes."""

        def handler(old: JSON | None, new: JSON | None) -> None:
            for obj in (old, new):
                owner = controller_of(obj) if obj is not None else None
                if obj is not None and owner is not None:
                    self.queue.add(f"{obj['metadata'].get('namespace', '')}/{owner['name']}")

        self.context.informers[kind].on_change(handler)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            await self.context.running.wait()
            try:
                again = await self.reconcile(key)
            except (Conflict, TemporaryError, NotFound) as error:
                _log.debug("%s %s: again: %s", type(self).__name__, key, error)
                self.queue.add_failed(key)
            except CortexError as error:
                _log.warning("%s %s: %s", type(self).__name__, split_key(key), error)
                self.queue.add_failed(key)
            else:
                self.queue.forget(key)
                if again is not None:
                    self.queue.add_after(key, max(0.02, again))
            finally:
                self.queue.done(key)
