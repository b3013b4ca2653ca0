"""The bus between those who report signals and the correlators: a stream that survives both.

The stream is divided into partitions. What belongs together is in one partition, each partition is read in
order by one owner at a time, and the owner itself remembers how far it has come: the bus is told only so
that its figures are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol

from cortexops.domain.errors import TemporaryError
from cortexops.domain.signal import FateReason, Signal


class NotAllStored(TemporaryError):
    """Some signals of a batch are not known to be stored. `stored` says of each: True for a duplicate,
    False for a new one, None when no answer came."""

    def __init__(self, message: str, stored: Sequence[bool | None], *, delay: timedelta) -> None:
        super().__init__(message, delay=delay)
        self.stored = tuple(stored)


class Place(NamedTuple):
    """Where a message stands in what one publisher sent: a jump tells how many signals were discarded."""

    publisher: str
    message: int  # messages that the publisher sent before this one
    signal: int  # signals in them


class Envelope(NamedTuple):
    """One message as the stream hands it out: one signal, or an array of them."""

    data: bytes
    sequence: int  # position in the stream
    stored_at: float  # Unix time at which the stream accepted it
    place: Place | None  # None for other programs' messages
    behind: int  # messages of the partition that nobody has been handed yet


class StreamState(NamedTuple):
    """The stream as a whole. `identity` changes when the stream is made anew and positions begin again."""

    identity: str
    first: int  # oldest position that is still kept; all before it is gone
    last: int  # newest position


class SignalSink(Protocol):
    """Where signals go in. Raises `TemporaryError` when the stream cannot take them now."""

    async def publish(self, signals: Sequence[Signal]) -> list[bool]:
        """Store the signals; returns once the stream has all of them. For each: whether it came in a message
        that the stream has already. Raises `NotAllStored` when the answer for some is missing."""
        ...

    async def park(self, raw: bytes, reason: FateReason, source: str, detail: str = "") -> None:
        """Keep something that cannot be processed, with the reason, for people to look at."""
        ...

    async def health(self) -> str | None:
        """None when the stream takes signals, else what is wrong."""
        ...

    async def close(self) -> None: ...


class PartitionReader(Protocol):
    """Reads one partition in order, each message once."""

    async def fetch(self, most: int, wait: timedelta) -> list[Envelope]:
        """At most `most` messages; empty when none came within `wait`. Raises `TemporaryError`."""
        ...

    async def done(self, sequence: int) -> None:
        """Everything up to this position is answered for. Never raises: it is for the bus's figures."""
        ...

    async def close(self) -> None: ...


class SignalBus(SignalSink, Protocol):
    """Both ends."""

    @property
    def partitions(self) -> int:
        """How many there are."""
        ...

    async def stream(self) -> StreamState: ...

    async def read(self, partition: int, *, epoch: int, after: int) -> PartitionReader:
        """Read the partition from behind position `after`. All other readers of it are cut off. Where one of
        this or a later epoch is there, the database was restored to an earlier state: then reading begins
        behind what that one has reported done, if it is further."""
        ...

    async def backlog(self, partitions: int) -> dict[int, int]:
        """Messages of each partition that are not reported done, for those that have a reader."""
        ...
