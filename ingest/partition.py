"""One partition in the hands of its owner: read, group, settle, write down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

from cortexops.domain.correlation import Fate, key_of
from cortexops.domain.errors import InvalidInput, PermanentError, TemporaryError
from cortexops.domain.partitions import Lease
from cortexops.domain.signal import FateReason, SignalStatus
from cortexops.domain.targets import ADDRESS
from cortexops.ports.bus import Envelope, PartitionReader, SignalBus
from cortexops.ports.partitions import Fenced
from cortexops.ports.store import Store
from cortexops.settings_ingest import CorrelatorSettings
from cortexops.telemetry import get_logger
from ingest.decode import decode_signal
from ingest.grouping import Groups, Taken
from ingest.owners import OwnerResolver
from ingest.recorder import Recorder
from ingest.registry import Registry
from ingest.settler import Settler
from ingest.sighting import Seen, documents, see
from ingest.source import NoAnswer, NoTarget
from ingest.starter import Starter
from ingest.surroundings import SurroundingsReader
from ingest.targets import on_target
from ingest.tasks import end, ended

_WAIT = timedelta(seconds=1)
_PAUSE = 1.0  # seconds after an error of an engine that names no delay
_LOOK_AGAIN = 5.0  # seconds between questions about addresses, while a cluster does not answer
_LOOKED_FOR = 600.0  # seconds, after which such a signal is parked
_MOST_ASIDE = 500
_UNKNOWN = "unknown"

_log = get_logger(__name__)


class Held:
    """How many signals the partitions of one process hold together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.number = 0
        self.room = asyncio.Event()

    def change(self, by: int) -> None:
        self.number += by
        if self.number < self.most:
            self.room.set()
        else:
            self.room.clear()


class _Aside(NamedTuple):
    """A signal of which only the address is known, while its cluster does not answer."""

    envelope: Envelope
    document: bytes
    until: float


class Partition:
    """Three loops: one reads, one settles, one asks again whose an address is. None ends for what an engine does."""

    def __init__(
        self,
        lease: Lease,
        reader: PartitionReader,
        settings: CorrelatorSettings,
        bus: SignalBus,
        store: Store,
        starter: Starter,
        resolver: OwnerResolver,
        surroundings: SurroundingsReader,
        held: Held,
        *,
        may_act: Callable[[], bool],
    ) -> None:
        self.lease = lease
        self._reader = reader
        self._settings = settings
        self._bus = bus
        self._resolver = resolver
        self._held = held
        self._mine = 0
        self._aside: list[_Aside] = []
        self._groups = Groups(settings)
        self._registry = Registry(store, surroundings)
        self._recorder = Recorder(lease, store, bus, reader)
        self._settler = Settler(
            settings,
            bus,
            store,
            starter,
            self._groups,
            self._registry,
            answer=self._answer,
            may_act=may_act,
        )
        self._news = asyncio.Event()
        self._lost = False
        self._read_problem: str | None = None
        self._record_problem: str | None = None
        self._tasks = [
            asyncio.create_task(self._read(), name=f"read-{lease.partition}"),
            asyncio.create_task(self._settle(), name=f"settle-{lease.partition}"),
            asyncio.create_task(self._look_again(), name=f"look-{lease.partition}"),
        ]

    @property
    def lost(self) -> bool:
        """Whether somebody else owns it now, as the books have told us."""
        return self._lost

    @property
    def fault(self) -> str | None:
        """Which of its loops has ended of what nobody foresaw: it does not begin again by itself."""
        return None if self._lost else ended(self._tasks)

    def problem(self) -> str | None:
        """None when it works, else what is wrong."""
        return self.fault or self._read_problem or self._settler.problem or self._record_problem

    async def drain(self, seconds: float) -> None:
        """Read no more, and settle what is held, for so many seconds at most."""
        reader, settler, looking = self._tasks
        await end(reader, looking)
        self._groups.hurry()
        self._news.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                aside = len({one.envelope.sequence for one in self._aside})  # the next owner's to read again
                while self._recorder.held > aside and not settler.done() and self.problem() is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Stop at once. What is held and not written down is the next owner's to read again."""
        await end(*self._tasks)
        self._held.change(-self._mine)
        self._mine = 0
        await self._reader.close()

    # -- read ----------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                await self._held.room.wait()
                envelopes = await self._reader.fetch(self._settings.batch, _WAIT)
                self._read_problem = None
                if envelopes:
                    await self._take(envelopes)
            except TemporaryError as error:
                self._read_problem = str(error)
                await asyncio.sleep(min(error.delay.total_seconds(), _PAUSE))
            except PermanentError as error:  # a stream that is set up otherwise; people must mend it
                self._read_problem = str(error)
                _log.error("cannot read the stream", error=str(error))
                await asyncio.sleep(_PAUSE)

    async def _take(self, envelopes: list[Envelope]) -> None:
        seen: list[tuple[Envelope, Seen]] = []
        for envelope in envelopes:
            seen += [(envelope, one) for one in await self._open(envelope)]
        self._hold(len(seen))
        await self._group(seen)

    def _hold(self, number: int) -> None:
        """So many more signals are in our hands; fewer if it is negative."""
        self._mine += number
        self._held.change(number)

    async def _group(self, seen: Sequence[tuple[Envelope, Seen]]) -> None:
        resources = await self._resolver.workloads([one for _, one in seen])
        now, clock = time.monotonic(), time.time()
        for (envelope, one), resource in zip(seen, resources, strict=True):
            taken = Taken(one.sighting, key_of(resource), resource, envelope.sequence, envelope.stored_at)
            self._groups.add(taken, now, clock - envelope.stored_at)
            self._registry.note(one.sighting, taken.key, resource)
        self._news.set()

    async def _open(self, envelope: Envelope) -> list[Seen]:
        """The signals of one message; what cannot be read is parked, its neighbours are not."""
        if self._recorder.may_be_behind_a_gap(envelope):
            await self._until_stored(self._recorder.look_for_gap, envelope)
        try:
            found = documents(envelope.data)
        except InvalidInput as error:
            self._recorder.read(envelope, 1)
            await self._park(envelope, envelope.data, error)
            return []
        if not self._recorder.read(envelope, len(found)):
            return []
        seen = []
        for document in found:
            try:
                one = see(document)
                seen.append(one if one.resource.kind != ADDRESS else await self._located(one))
            except InvalidInput as error:
                if not (isinstance(error, NoAnswer) and self._put_aside(envelope, document, error)):
                    await self._park(envelope, document, error)
        return seen

    def _put_aside(self, envelope: Envelope, document: bytes, error: NoAnswer) -> bool:
        """Keep it until the cluster answers; its message stays unsettled, so a crash does not lose it. False when
        too much is kept already."""
        if len(self._aside) >= _MOST_ASIDE:
            return False
        _log.warning("the address will be looked up again", sequence=envelope.sequence, error=str(error))
        self._aside.append(_Aside(envelope, document, time.monotonic() + _LOOKED_FOR))
        self._hold(1)
        return True

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_AGAIN)
            for aside in list(self._aside):
                try:
                    found = await self._located(see(aside.document))
                except InvalidInput as error:
                    hurried = self._held.number >= self._held.most // 2
                    if isinstance(error, NoAnswer) and time.monotonic() < aside.until and not hurried:
                        continue
                    await self._park(aside.envelope, aside.document, error)
                    self._hold(-1)
                    self._news.set()
                else:
                    await self._group([(aside.envelope, found)])
                self._aside.remove(aside)

    async def _located(self, one: Seen) -> Seen:
        """About the object that has the address. Raises `NoTarget`."""
        signal = decode_signal(one.sighting.text.encode())
        try:
            signal = await self._resolver.targets.find(signal)
        except NoTarget:
            # Its pod may have gone with its address: what ends an open incident's alert is that incident's.
            if signal.status is not SignalStatus.RESOLVED:
                raise
            known = await self._until_stored(self._registry.of_series, signal.cluster, signal.fingerprint)
            if known is None:
                raise
            signal = on_target(signal, known, "as when the alert began")
        return see(signal.model_dump_json().encode())

    async def _park(self, envelope: Envelope, document: bytes, error: InvalidInput) -> None:
        reason = FateReason.NO_TARGET if isinstance(error, NoTarget) else FateReason.UNDECODABLE
        _log.warning("message parked", sequence=envelope.sequence, reason=reason.value, error=str(error))
        await self._until_stored(self._bus.park, document, reason, _UNKNOWN, str(error))
        self._recorder.parked(envelope.sequence, reason)

    async def _until_stored(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What is read already is not read again by us: so we wait until the bus can do it."""
        while True:
            try:
                return await call(*arguments)
            except TemporaryError as error:
                self._read_problem = str(error)
                await asyncio.sleep(min(error.delay.total_seconds(), _PAUSE))

    # -- settle --------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        while True:
            now = time.monotonic()
            groups = self._groups.due(now, pressed=self._held.number >= self._held.most // 2)
            retries = self._groups.retries(now)
            if groups or retries:
                await self._settler.settle(groups, retries)
            try:
                await self._recorder.record()
                self._record_problem = None
            except TemporaryError as error:
                self._record_problem = str(error)
                await asyncio.sleep(min(error.delay.total_seconds(), _PAUSE))
                continue
            except Fenced:
                _log.warning("partition passed to another correlator", partition=self.lease.partition)
                self._lost = True
                return
            if groups or retries:
                continue
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._groups.next_due(time.monotonic()) or 0.001):
                    await self._news.wait()

    def _answer(self, answers: Sequence[tuple[Taken, Fate]], key: str) -> None:
        for taken, fate in answers:
            self._recorder.answer(taken, fate, key)
        self._hold(-len(answers))
