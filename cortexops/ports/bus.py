"""The bus between those who report signals and the correlator: a stream that survives both."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from cortexops.domain.errors import TemporaryError
from cortexops.domain.signal import FateReason, Signal


class NotAllStored(TemporaryError):
    """Some signals of a batch are not known to be stored. `stored` says of each: True for a duplicate,
    False for a new one, None when no answer came."""

    def __init__(self, message: str, stored: Sequence[bool | None], *, delay: timedelta) -> None:
        super().__init__(message, delay=delay)
        self.stored = tuple(stored)


class Delivery(NamedTuple):
    """One message as the stream hands it out. `token` is what the acknowledgement is addressed to."""

    data: bytes
    sequence: int  # position in the stream
    delivery: int  # position in what this consumer was handed, redeliveries included
    attempt: int  # 1 for the first delivery of this message
    stored_at: datetime  # when the stream accepted it
    counted: bool  # whether the publisher has counted it as ingested
    token: str


class ConsumerPosition(NamedTuple):
    """How far the consumer has come, as the server knows it."""

    sequence: int  # stream position of the newest message that was handed out
    delivery: int
    first_kept: int  # oldest position that the stream still holds
    backlog: int  # messages nobody has been handed yet


class SignalSink(Protocol):
    """Where signals go in. Raises `TemporaryError` when the stream cannot take them now."""

    async def publish(self, signals: Sequence[Signal]) -> list[bool]:
        """Store the signals; returns once the stream has all of them. For each: whether it was a duplicate
        within the deduplication window. Raises `NotAllStored` when the answer for some is missing."""
        ...

    async def park(self, raw: bytes, reason: FateReason, source: str, detail: str = "") -> None:
        """Keep something that cannot be processed, with the reason, for people to look at."""
        ...

    async def health(self) -> str | None:
        """None when the stream takes signals, else what is wrong."""
        ...

    async def close(self) -> None: ...


class SignalBus(SignalSink, Protocol):
    """Both ends. Several processes may consume at once: each message goes to one of them."""

    async def subscribe(self, *, ack_wait: timedelta, most_unacknowledged: int) -> ConsumerPosition:
        """Create or update the durable consumer and begin to receive. Must be called before `fetch`."""
        ...

    async def unsubscribe(self) -> None:
        """Receive no more, and give back at once what was received but not fetched."""
        ...

    async def fetch(self, most: int, wait: timedelta) -> list[Delivery]:
        """At most `most` messages; empty when none came within `wait`."""
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Never deliver these again."""
        ...

    async def nak(self, deliveries: Sequence[Delivery], delay: timedelta) -> None:
        """Deliver these again, not before `delay`."""
        ...

    async def term(self, deliveries: Sequence[Delivery]) -> None:
        """Never deliver these again, because they cannot be processed."""
        ...

    async def still_working(self, deliveries: Sequence[Delivery]) -> None:
        """Start the redelivery timer of these anew."""
        ...

    async def position(self) -> ConsumerPosition: ...
