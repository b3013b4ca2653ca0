"""The correlator: one process of several that share out the stream's partitions by leases.

Each partition has one owner, which reads it, groups its signals by cause and answers for every one of them.
A lease that is not renewed passes to another; what its old owner does afterwards changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.partitions import Lease
from cortexops.domain.signal import FateReason, SignalFate
from cortexops.metrics import (
    PARTITIONS_CONFIGURED,
    PARTITIONS_OWNED,
    SIGNAL_FATES,
    SIGNALS_DROPPED,
    STREAM_BACKLOG,
)
from cortexops.ports.bus import SignalBus, StreamState
from cortexops.ports.store import Store
from cortexops.settings import Settings
from cortexops.telemetry import get_logger
from ingest.owners import OwnerResolver
from ingest.partition import Held, Partition
from ingest.starter import Starter
from ingest.surroundings import SurroundingsReader
from ingest.tasks import end, ended

MOST_HELD = 9_000
"""Signals in memory at most; the rest waits in the stream."""
_AUDIT_INTERVAL = 5.0  # seconds between looks at the backlog and the books
_GOODBYE = 5.0  # seconds to settle what is held before a partition is given back
_SAFETY = 0.8  # of a lease's length for which we trust it without hearing from the database

_log = get_logger(__name__)


class Correlator:
    """Takes its share of the partitions while it runs."""

    def __init__(
        self,
        settings: Settings,
        bus: SignalBus,
        store: Store,
        starter: Starter,
        resolver: OwnerResolver,
        surroundings: SurroundingsReader | None = None,
        *,
        most_held: int = MOST_HELD,
    ) -> None:
        """Nothing is started. The engines are the caller's to close, after `stop`."""
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._settings = settings.correlator
        self._bus = bus
        self._store = store
        self._starter = starter
        self._resolver = resolver
        self._surroundings = surroundings or SurroundingsReader({})
        self._held = Held(most_held)
        self._ttl = timedelta(seconds=settings.correlator.lease_seconds)
        self._partitions: dict[int, Partition] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._trusted_until = 0.0
        self._problem: str | None = "has not begun"

    async def start(self) -> None:
        """Begin; returns at once, engines may be away."""
        self._held.change(0)
        PARTITIONS_CONFIGURED.set(self._bus.partitions)
        self._tasks = [
            asyncio.create_task(self._share(), name="correlator-share"),
            asyncio.create_task(self._audit(), name="correlator-audit"),
        ]

    async def stop(self) -> None:
        """Settle what is held for a few seconds at most, and give the partitions back."""
        await end(*self._tasks)
        self._tasks = []
        await asyncio.gather(*(partition.drain(_GOODBYE) for partition in self._partitions.values()))
        for number in list(self._partitions):
            await self._close(number)
        with suppress(TemporaryError, PermanentError):
            await self._store.leave(self.name)

    def healthy(self) -> str | None:
        """None when it works, else what is wrong."""
        if not self._tasks:
            return "not started"
        problems = (partition.problem() for partition in self._partitions.values())
        return ended(self._tasks) or self._problem or next(filter(None, problems), None)

    @property
    def held(self) -> int:
        """Signals taken from the stream that have no fate yet."""
        return self._held.number

    @property
    def owned(self) -> dict[int, int]:
        """Epoch of each partition that is ours."""
        return {number: partition.lease.epoch for number, partition in self._partitions.items()}

    def _may_act(self) -> bool:
        return time.monotonic() < self._trusted_until

    # -- leases --------------------------------------------------------------------------------------

    async def _share(self) -> None:
        pause = self._ttl.total_seconds() / 3
        while True:
            try:
                await self._take_share()
                self._problem = None
                await asyncio.sleep(pause)
            except (TemporaryError, PermanentError) as error:
                self._problem = str(error)
                _log.warning("cannot renew the leases", error=str(error))
                await asyncio.sleep(min(1.0, pause))

    async def _take_share(self) -> None:
        stream = await self._bus.stream()
        asked = time.monotonic()
        shared = await self._store.share(stream.identity, self.name, self._bus.partitions, self._ttl)
        self._trusted_until = asked + self._ttl.total_seconds() * _SAFETY
        for number, partition in list(self._partitions.items()):
            if partition.fault is not None:
                _log.error("partition given back", partition=number, error=partition.fault)
            elif number in shared.kept and not partition.lost:
                continue
            await self._close(number)
        for lease in shared.taken:
            await self._open(lease)
        for number in shared.kept:
            if number not in self._partitions:
                # ours by the books, but we could not open it, or it broke: let it be taken anew
                await self._store.release(Lease(stream.identity, number, -1, 0, (), {}), self.name)
        leaving = [self._partitions[number] for number in shared.release if number in self._partitions]
        await asyncio.gather(*(partition.drain(_GOODBYE) for partition in leaving))
        for partition in leaving:
            await self._close(partition.lease.partition)
            await self._store.release(partition.lease, self.name)
        PARTITIONS_OWNED.set(len(self._partitions))

    async def _open(self, lease: Lease) -> None:
        try:
            reader = await self._bus.read(lease.partition, epoch=lease.epoch, after=lease.floor)
        except TemporaryError:
            await self._store.release(lease, self.name)
            raise
        _log.info("partition taken", partition=lease.partition, epoch=lease.epoch, after=lease.floor)
        self._partitions[lease.partition] = Partition(
            lease,
            reader,
            self._settings,
            self._bus,
            self._store,
            self._starter,
            self._resolver,
            self._surroundings,
            self._held,
            may_act=self._may_act,
        )

    async def _close(self, number: int) -> None:
        partition = self._partitions.pop(number)
        _log.info("partition left", partition=number, epoch=partition.lease.epoch)
        await partition.close()

    # -- books ---------------------------------------------------------------------------------------

    async def _audit(self) -> None:
        """Measure the backlog. The owner of the first partition also looks whether messages of programs that
        do not number theirs were discarded: while nothing waits, whatever is missing from the books was."""
        before: tuple[int, int] | None = None
        while True:
            await asyncio.sleep(_AUDIT_INTERVAL)
            try:
                stream = await self._bus.stream()
                backlog = await self._bus.backlog(self._bus.partitions)
                STREAM_BACKLOG.set(sum(backlog.values()))
                missing = await self._missing(stream, backlog)
                now = (stream.last, missing)
                if missing > 0 and now == before:  # seen twice: not just on its way
                    _log.error("the stream discarded messages before they were read", number=missing)
                    await self._store.discarded(stream.identity, missing)
                    SIGNALS_DROPPED.inc(missing)
                    SIGNAL_FATES.labels(SignalFate.DROPPED, FateReason.STREAM_LIMIT).inc(missing)
                before = now
            except (TemporaryError, PermanentError) as error:
                _log.debug("cannot look at the books", error=str(error))

    async def _missing(self, stream: StreamState, backlog: Mapping[int, int]) -> int:
        """Messages that the stream no longer has and nobody has read, as far as it can be told now."""
        if 0 not in self._partitions or len(backlog) < self._bus.partitions or any(backlog.values()):
            return 0
        account = await self._store.account(stream.identity)
        gone = stream.first - 1 - account.discarded_messages  # no more can have been discarded
        return min(gone, account.unaccounted(stream.last, 0))
