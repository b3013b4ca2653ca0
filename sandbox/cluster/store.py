"""Versioned objects with watch: the part that etcd and the watch cache play.

Objects are never changed once stored: every write stores a new one, so readers need no copies.
All of it runs on one event loop and no call waits, so every call is atomic.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import NamedTuple

from cortexops.domain.resource import JSON

Key = tuple[str, str]
"""Namespace (empty for cluster-wide resources) and name."""


class Change(NamedTuple):
    """One write. `before` is None for a creation, `after` is None for a deletion."""

    version: int
    resource: str
    key: Key
    before: JSON | None
    after: JSON | None

    @property
    def last(self) -> JSON:
        """The object as it now is, or as it last was."""
        found = self.after if self.after is not None else self.before
        assert found is not None
        return found


class TooOld(Exception):
    """The asked version is no longer in the history."""

    def __init__(self, oldest: int) -> None:
        super().__init__(oldest)
        self.oldest = oldest


class Watch:
    """A queue of changes of one resource; ends when closed or hopelessly behind."""

    def __init__(self, resource: str, most_pending: int) -> None:
        self.resource = resource
        self._most = most_pending
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self.closed = False

    def offer(self, change: Change) -> None:
        """Hand over a change; a reader that lags too far behind is cut off and must list again."""
        if self.closed:
            return
        if self._queue.qsize() >= self._most:
            self.close()
            return
        self._queue.put_nowait(change)

    def close(self) -> None:
        """End the watch after what is already queued."""
        if not self.closed:
            self.closed = True
            self._queue.put_nowait(None)

    async def next(self, timeout_seconds: float) -> Change | None:
        """The next change; None at the end of the watch. Raises `TimeoutError`."""
        if not self._queue.empty():
            return self._queue.get_nowait()
        async with asyncio.timeout(timeout_seconds):
            return await self._queue.get()


class Store:
    """All objects. `history` bounds how many changes a watch may resume from."""

    def __init__(self, history: int = 50_000, most_pending: int = 20_000) -> None:
        self.version = 0
        self._objects: dict[str, dict[str, dict[str, JSON]]] = {}
        self._history: deque[Change] = deque()
        self._history_size = history
        self._most_pending = most_pending
        self._oldest = 0  # changes up to this version have been dropped
        self._watches: dict[str, list[Watch]] = {}
        self._listeners: list[Callable[[Change], None]] = []

    # -- reading -----------------------------------------------------------------------------------

    def get(self, resource: str, namespace: str, name: str) -> JSON | None:
        return self._objects.get(resource, {}).get(namespace, {}).get(name)

    def listing(self, resource: str, namespace: str | None = None) -> list[tuple[Key, JSON]]:
        """Objects in key order; `namespace` None means everywhere."""
        spaces = self._objects.get(resource, {})
        wanted = sorted(spaces) if namespace is None else [namespace]
        return [((ns, name), obj) for ns in wanted for name, obj in sorted(spaces.get(ns, {}).items())]

    def objects(self, resource: str, namespace: str | None = None) -> Iterator[JSON]:
        """Objects in no particular order."""
        spaces = self._objects.get(resource, {})
        chosen = list(spaces.values()) if namespace is None else [spaces.get(namespace, {})]
        for space in chosen:
            yield from list(space.values())

    def listing_at(self, resource: str, namespace: str | None, version: int) -> list[tuple[Key, JSON]]:
        """Objects as they were at `version`. Raises `TooOld`."""
        if version >= self.version:
            return self.listing(resource, namespace)
        self._require(version)
        then = dict(self.listing(resource, namespace))
        for change in reversed(self._history):
            if change.version <= version:
                break
            if change.resource != resource or (namespace is not None and change.key[0] != namespace):
                continue
            if change.before is None:
                then.pop(change.key, None)
            else:
                then[change.key] = change.before
        return sorted(then.items())

    def resources(self) -> list[str]:
        """Resources that have ever had an object."""
        return list(self._objects)

    # -- writing -----------------------------------------------------------------------------------

    def put(self, resource: str, namespace: str, name: str, obj: JSON) -> JSON:
        """Store under the next version, which is written into the metadata; returns what is stored."""
        before = self.get(resource, namespace, name)
        self.version += 1
        stored = obj | {"metadata": obj["metadata"] | {"resourceVersion": str(self.version)}}
        self._objects.setdefault(resource, {}).setdefault(namespace, {})[name] = stored
        self._record(Change(self.version, resource, (namespace, name), before, stored))
        return stored

    def delete(self, resource: str, namespace: str, name: str) -> JSON | None:
        """Remove an object; returns it as it last was, under the version of its deletion."""
        before = self._objects.get(resource, {}).get(namespace, {}).pop(name, None)
        if before is None:
            return None
        self.version += 1
        last = before | {"metadata": before["metadata"] | {"resourceVersion": str(self.version)}}
        self._record(Change(self.version, resource, (namespace, name), last, None))
        return last

    def _record(self, change: Change) -> None:
        self._history.append(change)
        while len(self._history) > self._history_size:
            self._oldest = self._history.popleft().version
        for watch in self._watches.get(change.resource, []):
            watch.offer(change)
        for listener in self._listeners:
            listener(change)

    # -- watching ----------------------------------------------------------------------------------

    def _require(self, version: int) -> None:
        if version < self._oldest:
            raise TooOld(self._oldest)

    def watch(self, resource: str, since: int | None) -> Watch:
        """Changes of a resource after `since` (None: from now on). Raises `TooOld`."""
        watch = Watch(resource, self._most_pending)
        if since is not None:
            self._require(since)
            missed = takewhile(lambda change: change.version > since, reversed(self._history))
            for change in reversed([change for change in missed if change.resource == resource]):
                watch.offer(change)
        self._watches.setdefault(resource, []).append(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Forget a watch."""
        watch.close()
        watches = self._watches.get(watch.resource, [])
        if watch in watches:
            watches.remove(watch)

    def close_watches(self) -> None:
        """End every watch, as a server that stops does."""
        for watches in self._watches.values():
            for watch in watches:
                watch.close()

    def compact(self) -> None:
        """Drop the history: whoever resumes from an older version gets `TooOld`."""
        self._history.clear()
        self._oldest = self.version

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` after every change, in order."""
        self._listeners.append(listener)

    # -- keeping -----------------------------------------------------------------------------------

    def dump(self) -> JSON:
        """Everything but the history, as plain data."""
        return {"version": self.version, "objects": self._objects}

    def load(self, data: JSON) -> None:
        """Replace everything by what `dump` gave; older versions count as compacted."""
        self.version = int(data["version"])
        self._objects = data["objects"]
        self.compact()
