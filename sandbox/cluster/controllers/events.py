"""Core/v1 Events: written in the background, repeats folded into a count as the real recorder does."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from cortexops.domain.errors import CortexError, NotFound, TemporaryError
from cortexops.domain.resource import JSON
from cortexops.ports.cluster import PatchType, WritableCluster
from sandbox.cluster.controllers.clock import Clock, stamp

_log = logging.getLogger(__name__)
_MOST_REMEMBERED = 4000


class Occurrence(NamedTuple):
    """Something worth telling about one object."""

    regarding: JSON
    type: str
    reason: str
    message: str
    component: str
    host: str = ""


def reference(obj: JSON, kind: str, api_version: str, field_path: str = "") -> JSON:
    """The involvedObject of an event about `obj`."""
    meta = obj["metadata"]
    ref: JSON = {"kind": kind, "apiVersion": api_version, "name": meta["name"], "uid": meta.get("uid", "")}
    if meta.get("namespace"):
        ref["namespace"] = meta["namespace"]
    if meta.get("resourceVersion"):
        ref["resourceVersion"] = meta["resourceVersion"]
    if field_path:
        ref["fieldPath"] = field_path
    return ref


class EventRecorder:
    """`record` never blocks or fails its caller; what cannot be written is dropped with a log line."""

    def __init__(self, cluster: WritableCluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._queue: asyncio.Queue[Occurrence] = asyncio.Queue()
        self._written: dict[tuple[str, ...], tuple[str, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def record(self, occurrence: Occurrence) -> None:
        """Write it soon."""
        self._queue.put_nowait(occurrence)

    async def start(self) -> None:
        """Begin writing."""
        self._task = asyncio.create_task(self._run(), name="events")

    async def stop(self) -> None:
        """Stop writing; what is still queued is dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            occurrence = await self._queue.get()
            try:
                await self._write(occurrence)
            except TemporaryError as error:
                _log.debug("event not written: %s", error)
                await asyncio.sleep(0.2)
            except CortexError as error:
                _log.debug("event refused: %s", error)

    async def _write(self, what: Occurrence) -> None:
        regarding = what.regarding
        namespace = regarding.get("namespace") or "default"
        same = (
            regarding["uid"],
            regarding.get("fieldPath", ""),
            what.type,
            what.reason,
            what.message,
            what.component,
        )
        now = stamp(self._clock.now())
        if same in self._written:
            name, count = self._written[same]
            try:
                await self._cluster.patch(
                    "Event",
                    namespace,
                    name,
                    {"count": count + 1, "lastTimestamp": now},
                    patch_type=PatchType.MERGE,
                )
            except NotFound:
                del self._written[same]
            else:
                self._written[same] = (name, count + 1)
                return
        name = f"{regarding['name']}.{int(self._clock.now().timestamp() * 1e9):x}"
        source = {"component": what.component, **({"host": what.host} if what.host else {})}
        await self._cluster.create(
            "Event",
            namespace,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": regarding,
                "type": what.type,
                "reason": what.reason,
                "message": what.message,
                "source": source,
                "reportingComponent": what.component,
                "reportingInstance": what.host,
                "count": 1,
                "firstTimestamp": now,
                "lastTimestamp": now,
            },
        )
        if len(self._written) >= _MOST_REMEMBERED:
            self._written.pop(next(iter(self._written)))
        self._written[same] = (name, 1)
