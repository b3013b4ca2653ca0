"""Books of one partition: which messages are answered for, and the fates that go down with them.

A message is settled when every signal in it has its fate; then the fates, the position and the sums are
written in one transaction under the lease's epoch. So a crash at any moment leaves a message either wholly
in the books or wholly to be read again.
"""

from __future__ import annotations

from collections import Counter as Sums
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple, TypeVar

from prometheus_client import Counter

from cortexops.domain.correlation import DUPLICATE, KEEPS_FAILING, STREAM_LIMIT, Fate
from cortexops.domain.errors import PermanentError
from cortexops.domain.partitions import Entry, Lease, Progress, Settlement
from cortexops.domain.signal import FateReason, SignalFate
from cortexops.metrics import EVENTS_INGESTED, SIGNAL_FATES, SIGNALS_DROPPED
from cortexops.ports.bus import Envelope, PartitionReader, Place, SignalBus
from cortexops.ports.partitions import Fenced, PartitionStore
from cortexops.telemetry import get_logger
from ingest.grouping import Taken

_UNKNOWN = "unknown"
_MOST_PUBLISHERS = 4096  # that are remembered, the latest
_MOST_SKIPS = 512

_log = get_logger(__name__)
V = TypeVar("V")


@lru_cache
def _unnumbered() -> Counter:
    return EVENTS_INGESTED.labels(_UNKNOWN, _UNKNOWN)


@dataclass(slots=True)
class _Answers:
    """What became of one message's signals so far."""

    entries: list[Entry] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)


class _Gaps(NamedTuple):
    """What was discarded unread and is not written down yet."""

    messages: int
    signals: int

    def __bool__(self) -> bool:
        return self.messages > 0


_NONE = _Gaps(0, 0)


class _Jumps:
    """Where the reader was moved on because the stream had discarded what came next.

    The message after a jump belongs to one publisher; that others lost something too shows only when they are
    read. So a jump is remembered until the partition is read to its end: what is not explained by then is left to
    the audit, which may book it as soon as nothing waits, and must not be booked twice.
    """

    def __init__(self, floor: int) -> None:
        self._position = floor  # of the newest message that was read
        self._skips: deque[tuple[int, int]] = deque(maxlen=_MOST_SKIPS)  # not handed to us: [from, before)
        self._first = 0  # the stream's oldest position, when we last asked
        self._end = 0  # the first position after the latest jump
        self._lost = 0  # positions that jumps went over, less what holes have explained
        self._seen: dict[str, int] = {}  # publisher → position of its newest message

    def read(self, envelope: Envelope) -> None:
        """A message was read: the next one is expected behind it."""
        self._skip_to(envelope.sequence)
        self._position = max(self._position, envelope.sequence)
        if envelope.place is not None:
            _keep(self._seen, envelope.place.publisher, envelope.sequence)
        if not envelope.behind:
            self._skips.clear()
            self._lost = 0

    def _skip_to(self, sequence: int) -> None:
        if sequence > self._position + 1:
            self._skips.append((self._position + 1, sequence))
            self._position = sequence - 1

    async def explain(self, place: Place, messages: int, sequence: int, bus: SignalBus) -> bool:
        """Whether so many messages of its publisher, missing before the one at this position, were discarded.
        Raises `TemporaryError`."""
        self._skip_to(sequence)
        if self._skips and self._first < self._skips[-1][1]:
            self._first = (await bus.stream()).first
        while self._skips:
            start, before = self._skips.popleft()
            if self._first > start:  # what other partitions keep there is no loss
                self._end = max(self._end, min(self._first, before))
                self._lost += min(self._first, before) - start
        if self._seen.get(place.publisher, 0) >= self._end or messages > self._lost:
            return False
        self._lost -= messages
        return True


class Recorder:
    """Keeps the books of one lease."""

    def __init__(self, lease: Lease, store: PartitionStore, bus: SignalBus, reader: PartitionReader) -> None:
        self._lease = lease
        self._store = store
        self._bus = bus
        self._reader = reader
        self._progress = Progress(lease.floor)
        self._jumps = _Jumps(lease.floor)
        self._places: dict[str, tuple[int, int]] = dict(lease.places)
        self._answers: dict[int, _Answers] = {}
        self._ready: list[int] = []
        self._gaps = _NONE

    @property
    def held(self) -> int:
        """Messages that are read and not in the books."""
        return self._progress.held

    def read(self, envelope: Envelope, signals: int) -> bool:
        """A message with so many signals was read. False when an earlier owner has settled it."""
        self._place(envelope, signals)
        self._jumps.read(envelope)
        if self._lease.settled(envelope.sequence):
            self._progress.skip(envelope.sequence)
            return False
        self._progress.take(envelope.sequence, signals)
        self._answers[envelope.sequence] = _Answers()
        if not signals:  # an empty array
            self._ready.append(envelope.sequence)
        return True

    def answer(self, taken: Taken, fate: Fate, key: str) -> None:
        """A signal has its fate. A duplicate is counted; its row is there already."""
        sighting = taken.sighting
        answers = self._answers[taken.sequence]
        answers.fates.append(fate)
        if fate != DUPLICATE:
            answers.entries.append(Entry(sighting.id, fate, key, sighting.text))
        self._answered(taken.sequence)

    def parked(self, sequence: int, reason: FateReason) -> None:
        """What stood in a signal's place could not be read, and is parked."""
        self._answers[sequence].fates.append(Fate(SignalFate.PARKED, reason))
        self._answered(sequence)

    def _answered(self, sequence: int) -> None:
        if self._progress.answer(sequence):
            self._ready.append(sequence)

    async def record(self) -> None:
        """Write down what is complete. Raises `Fenced`, or `TemporaryError`: then call again."""
        if not (self._ready or self._gaps):
            return
        try:
            await self._write(self._ready, self._gaps)
        except Fenced:
            raise
        except PermanentError as error:  # one of these makes the database refuse all
            for sequence in list(self._ready):
                await self._write_alone(sequence, error)
            await self._write([], self._gaps)

    async def _write_alone(self, sequence: int, error: PermanentError) -> None:
        """One message. What the database refuses even so is parked, and only counted."""
        try:
            await self._write([sequence], _NONE)
        except Fenced:
            raise
        except PermanentError:
            _log.error("the database refuses a message's fates", sequence=sequence, error=str(error))
            answers = self._answers[sequence]
            while answers.entries:
                body = answers.entries[-1].body.encode()
                await self._bus.park(body, FateReason.KEEPS_FAILING, _UNKNOWN, str(error))
                answers.entries.pop()
            answers.fates = [KEEPS_FAILING] * len(answers.fates)
            await self._write([sequence], _NONE)

    async def _write(self, ready: Sequence[int], gaps: _Gaps) -> None:
        """One transaction; afterwards these are no longer waiting to be written."""
        ready, counts = list(ready), Sums({STREAM_LIMIT: gaps.signals} if gaps.signals else {})
        entries: list[Entry] = []
        for sequence in ready:
            answers = self._answers[sequence]
            for fate, alike in groupby(answers.fates):
                counts[fate] += sum(1 for _ in alike)
            entries += answers.entries
        floor = self._progress.floor_after(ready)
        settlement = Settlement(floor, ready, entries, counts, self._places, gaps.messages)
        await self._store.record_settlement(self._lease, settlement)
        self._progress.settle(ready)
        for sequence in ready:
            del self._answers[sequence]
        done = set(ready)
        self._ready = [sequence for sequence in self._ready if sequence not in done]
        self._gaps = _Gaps(self._gaps.messages - gaps.messages, self._gaps.signals - gaps.signals)
        for fate, number in counts.items():
            SIGNAL_FATES.labels(fate.fate, fate.reason).inc(number)
        await self._reader.done(floor)

    def may_be_behind_a_gap(self, envelope: Envelope) -> bool:
        """Whether its publisher numbered messages before it that we have not seen."""
        place = envelope.place
        if place is None or place.message <= self._expected(place)[0]:
            return False
        return not self._lease.settled(envelope.sequence)

    async def look_for_gap(self, envelope: Envelope) -> None:
        """Count what the stream discarded at its limit before anybody was handed it.

        The publisher's numbers say how much is missing; the stream's oldest position says whether it was
        discarded, or was never stored because the publisher got no answer and was told to send again.
        Raises `TemporaryError`.
        """
        place = envelope.place
        if place is None:
            return
        message, signal = self._expected(place)
        messages, missing = place.message - message, place.signal - signal
        if await self._jumps.explain(place, messages, envelope.sequence, self._bus):
            self._gaps = _Gaps(self._gaps.messages + messages, self._gaps.signals + missing)
            SIGNALS_DROPPED.inc(missing)
            _log.error("the stream discarded signals at its limit before they were read", number=missing)

    def _expected(self, place: Place) -> tuple[int, int]:
        return self._places.get(place.publisher, (0, 0))

    def _place(self, envelope: Envelope, signals: int) -> None:
        """Keep how far its publisher has come."""
        place = envelope.place
        if place is None:
            _unnumbered().inc(signals)  # nobody has counted them before
            return
        expected = self._expected(place)
        now = max(expected[0], place.message + 1), max(expected[1], place.signal + signals)
        _keep(self._places, place.publisher, now)


def _keep(kept: dict[str, V], publisher: str, value: V) -> None:
    """The latest stand last; the oldest beyond what is remembered goes."""
    kept.pop(publisher, None)
    kept[publisher] = value
    if len(kept) > _MOST_PUBLISHERS:
        del kept[next(iter(kept))]
