"""The correlator: reads the stream, groups by cause, and answers for every message it took.

Three loops: one reads, one settles, one keeps what is held from being delivered again. None of them ends for
what an engine does; while Temporal or the database is away the stream buffers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.metrics import STREAM_BACKLOG
from cortexops.ports.bus import SignalBus
from cortexops.ports.store import IncidentStore
from cortexops.settings import Settings
from cortexops.telemetry import get_logger
from ingest.consumer import Consumer
from ingest.grouping import Groups
from ingest.owners import OwnerResolver
from ingest.settler import Settler
from ingest.starter import Starter

MOST_HELD = 10_000
"""Signals in memory at most; the rest waits in the stream."""
_WAIT = timedelta(seconds=1)
_PAUSE = 1.0  # seconds after an error of the bus that names no delay
_BACKLOG_INTERVAL = 5.0
_GOODBYE = 5.0  # seconds to settle at the end

_log = get_logger(__name__)


class Correlator:
    """One process may have one; several processes share the stream."""

    def __init__(
        self,
        settings: Settings,
        bus: SignalBus,
        store: IncidentStore,
        starter: Starter,
        resolver: OwnerResolver,
        *,
        most_held: int = MOST_HELD,
    ) -> None:
        """Nothing is started. The engines are the caller's to close, after `stop`."""
        self._settings = settings.correlator
        self._bus = bus
        self._resolver = resolver
        self._most_held = most_held
        self._consumer = Consumer(bus, settings.correlator, most_held=most_held)
        self._groups = Groups(settings.correlator, most_held=most_held)
        self._settler = Settler(settings.correlator, bus, store, starter, self._groups)
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._bus_problem: str | None = None

    async def start(self) -> None:
        """Begin; returns at once, engines may be away."""
        self._stopping = False
        self._tasks = [
            asyncio.create_task(loop, name=f"correlator-{name}") for name, loop in self._loops().items()
        ]

    def _loops(self) -> dict[str, Coroutine[Any, Any, None]]:
        return {"read": self._read(), "settle": self._settle(), "keep": self._keep()}

    async def stop(self) -> None:
        """Stop reading, settle what is held for a few seconds at most, and give the rest back."""
        self._stopping = True
        if not self._tasks:
            return
        reader, settler, keeper = self._tasks
        for task in (reader, keeper):
            task.cancel()
        await asyncio.gather(reader, keeper, return_exceptions=True)
        self._groups.hurry()
        self._news.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                while self._groups.held and not settler.done():
                    if self._settler.problem is not None:
                        break  # an engine is away: the next process will settle them
                    await asyncio.sleep(0.01)
        settler.cancel()
        await asyncio.gather(settler, return_exceptions=True)
        self._tasks = []
        with suppress(TemporaryError):
            await self._bus.nak([taken.delivery for taken in self._groups.unsettled()], timedelta(0))
        await self._bus.unsubscribe()

    def healthy(self) -> str | None:
        """None when it works, else what is wrong."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                error = task.exception()
                return f"{task.get_name()} has ended: {type(error).__name__ if error else 'no error'}"
        if not self._tasks:
            return "not started"
        return self._bus_problem or self._settler.problem

    @property
    def held(self) -> int:
        """Signals taken from the stream and not settled yet."""
        return self._groups.held

    async def _read(self) -> None:
        while not self._stopping:
            try:
                if self._groups.held >= self._most_held:
                    self._room.clear()
                    await self._room.wait()
                    continue
                taken = await self._consumer.take(_WAIT)
                self._bus_problem = None
            except TemporaryError as error:
                self._bus_problem = str(error)
                await asyncio.sleep(min(error.delay.total_seconds(), _PAUSE))
                continue
            except PermanentError as error:  # a stream that is set up otherwise; people must mend it
                self._bus_problem = str(error)
                _log.error("cannot read the stream", error=str(error))
                await asyncio.sleep(_PAUSE)
                continue
            if taken:
                resources = await self._resolver.workloads([item.signal for item in taken])
                now = time.monotonic()
                for item, resource in zip(taken, resources, strict=True):
                    self._groups.add(item, resource, now)
                self._news.set()

    async def _settle(self) -> None:
        while True:
            groups = self._groups.due(time.monotonic())
            if groups:
                await self._settler.settle(groups)
                self._room.set()
                continue
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._groups.next_due(time.monotonic()) or 0.001):
                    await self._news.wait()

    async def _keep(self) -> None:
        """Renew the claim on what is held, and measure the backlog."""
        interval = min(_BACKLOG_INTERVAL, self._settings.ack_wait_seconds / 3)
        while True:
            await asyncio.sleep(interval)
            try:
                await self._bus.still_working([taken.delivery for taken in self._groups.unsettled()])
                STREAM_BACKLOG.set((await self._bus.position()).backlog)
            except TemporaryError as error:
                _log.debug("cannot renew the claim on held signals", error=str(error))
