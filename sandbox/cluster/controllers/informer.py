"""A cache of one kind kept fresh by list and watch, shared by every loop that reads the kind."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import aclosing

from cortexops.domain.errors import Conflict, CortexError, InvalidInput, TemporaryError
from cortexops.domain.resource import JSON
from cortexops.ports.cluster import WritableCluster
from sandbox.cluster.controllers.objects import key_of

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 0.5
_TOMBSTONES = 2000  # deleted uids remembered, so that a late answer cannot bring an object back

Handler = Callable[[JSON | None, JSON | None], None]
"""Called with the old and the new object; None where there was or is none."""
Index = Callable[[JSON], Iterable[str]]


class Informer:
    """All objects of one kind. Cached objects are shared: never change one, copy it first."""

    def __init__(self, cluster: WritableCluster, kind: str) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self._cluster = cluster
        self._objects: dict[str, JSON] = {}
        self._handlers: list[Handler] = []
        self._indices: dict[str, Index] = {}
        self._indexed: dict[str, dict[str, dict[str, JSON]]] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def on_change(self, handler: Handler) -> None:
        """Call `handler` on every change; it is told about what is already known at once."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler(None, obj)

    def add_index(self, name: str, values: Index) -> None:
        """Make `find(name, value)` answer without a scan."""
        if name in self._indices:
            return
        self._indices[name] = values
        self._indexed[name] = {}
        for obj in self._objects.values():
            self._index(obj)

    def get(self, key: str) -> JSON | None:
        """The object under `namespace/name`."""
        return self._objects.get(key)

    def all(self) -> list[JSON]:
        """Every object."""
        return list(self._objects.values())

    def find(self, index: str, value: str) -> list[JSON]:
        """The objects that an index files under `value`."""
        return list(self._indexed[index].get(value, {}).values())

    def ingest(self, obj: JSON) -> None:
        """Take in the API server's answer to our own write, so that the next decision already sees it."""
        self._put(obj)

    def mark_deleting(self, key: str) -> None:
        """We asked to delete it: treat it as going until the watch says more."""
        known = self._objects.get(key)
        if known is not None and not known["metadata"].get("deletionTimestamp"):
            going = {**known, "metadata": {**known["metadata"], "deletionTimestamp": "1970-01-01T00:00:00Z"}}
            self._swap(key, known, going)

    async def run(self) -> None:
        """List and watch for ever. Ends only when the server does not serve the kind, or cancelled."""
        while True:
            try:
                listing = await self._cluster.list(self.kind)
                self._reset(listing.items)
                self.synced.set()
                await self._follow(listing.resource_version)
            except InvalidInput:
                self.synced.set()
                return
            except Conflict:
                continue
            except TemporaryError as error:
                _log.debug("%s: watch broke: %s", self.kind, error)
                await asyncio.sleep(_RETRY_SECONDS)
            except CortexError as error:
                _log.warning("%s: cannot list: %s", self.kind, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, version: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            stream = self._cluster.watch(self.kind, resource_version=version)
            async with aclosing(stream):
                async for event in stream:
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type == "DELETED":
                        self._drop(event.object)
                    elif event.type in ("ADDED", "MODIFIED"):
                        self._put(event.object)
            if loop.time() - began < _RETRY_SECONDS:
                await asyncio.sleep(_RETRY_SECONDS)

    def _reset(self, items: list[JSON]) -> None:
        fresh = {key_of(item) for item in items}
        for key, obj in list(self._objects.items()):
            if key not in fresh:
                self._drop(obj)
        for item in items:
            self._put(item)

    def _put(self, obj: JSON) -> None:
        key, uid = key_of(obj), obj["metadata"].get("uid", "")
        if uid in self._gone:
            return
        known = self._objects.get(key)
        if known is not None and _version(obj) <= _version(known) and known["metadata"].get("uid") == uid:
            return
        self._swap(key, known, obj)

    def _drop(self, obj: JSON) -> None:
        key, uid = key_of(obj), obj["metadata"].get("uid", "")
        self._gone[uid] = None
        while len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        known = self._objects.get(key)
        if known is not None and known["metadata"].get("uid", "") == uid:
            self._swap(key, known, None)

    def _swap(self, key: str, old: JSON | None, new: JSON | None) -> None:
        if old is not None:
            self._unindex(old)
        if new is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = new
            self._index(new)
        for handler in self._handlers:
            handler(old, new)

    def _index(self, obj: JSON) -> None:
        for name, values in self._indices.items():
            for value in values(obj):
                self._indexed[name].setdefault(value, {})[key_of(obj)] = obj

    def _unindex(self, obj: JSON) -> None:
        for name, values in self._indices.items():
            for value in values(obj):
                bucket = self._indexed[name].get(value)
                if bucket is not None:
                    bucket.pop(key_of(obj), None)
                    if not bucket:
                        del self._indexed[name][value]


class Informers:
    """One informer for each kind asked for, all over one client."""

    def __init__(self, cluster: WritableCluster) -> None:
        self._cluster = cluster
        self._by_kind: dict[str, Informer] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def __getitem__(self, kind: str) -> Informer:
        if kind not in self._by_kind:
            self._by_kind[kind] = Informer(self._cluster, kind)
        return self._by_kind[kind]

    async def start(self) -> None:
        """Start those asked for so far and wait until each has listed once."""
        running = {task.get_name() for task in self._tasks}
        for kind, informer in self._by_kind.items():
            if kind not in running:
                self._tasks.append(asyncio.create_task(informer.run(), name=kind))
        await asyncio.gather(*(informer.synced.wait() for informer in self._by_kind.values()))

    async def stop(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


def _version(obj: JSON) -> int:
    text = obj["metadata"].get("resourceVersion", "0")
    return int(text) if text.isdigit() else 0
