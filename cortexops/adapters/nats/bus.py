"""Both ends of the bus over one connection. Implements `cortexops.ports.bus.SignalBus`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from nats.js.api import ConsumerInfo
from nats.js.errors import APIError, NotFoundError

from cortexops.adapters.nats.connection import CLIENT_ERRORS, Connection
from cortexops.adapters.nats.publishing import Publisher
from cortexops.adapters.nats.reading import JetStreamReader, parse_consumer
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.signal import FateReason, Signal
from cortexops.ports.bus import StreamState
from cortexops.settings_ingest import NatsSettings


class JetStreamBus:
    """The client reconnects for ever; what it does meanwhile is said in `connection`."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        self._publisher = Publisher(self._connection)

    @classmethod
    async def connect(cls, settings: NatsSettings) -> Self:
        """Connect and make sure that the streams are there. Raises `TemporaryError` when NATS is away."""
        bus = cls(settings)
        try:
            await bus._connection.open()
            await bus._connection.ensure()
        except (PermanentError, TemporaryError):
            await bus.close()
            raise
        return bus

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def health(self) -> str | None:
        """None when JetStream answers for the stream."""
        try:
            await self._connection.ensure()
            await self.stream()
        except (TemporaryError, PermanentError) as error:
            self._connection.doubt()
            return str(error)
        return None

    async def publish(self, signals: Sequence[Signal]) -> list[bool]:
        return await self._publisher.publish(signals)

    async def park(self, raw: bytes, reason: FateReason, source: str, detail: str = "") -> None:
        await self._publisher.park(raw, reason, source, detail)

    @property
    def partitions(self) -> int:
        return self._settings.partitions

    async def stream(self) -> StreamState:
        try:
            info = await self._connection.client.jetstream().stream_info(self._settings.stream)
        except CLIENT_ERRORS as error:
            raise TemporaryError(f"JetStream does not answer: {type(error).__name__}") from None
        made = info.created.isoformat() if info.created else ""
        return StreamState(f"{self._settings.stream}@{made}", info.state.first_seq, info.state.last_seq)

    async def read(self, partition: int, *, epoch: int, after: int) -> JetStreamReader:
        """Removes all other consumers of the partition. One of the same or a later epoch can only be from
        before the database was restored to an earlier state: what it had done is done. The books alone say
        what earlier ones had done."""
        jetstream = self._connection.client.jetstream()
        others = [info for info in await self._consumers() if _partition(info) == partition]
        later = [info for info in others if _epoch(info) >= epoch and info.ack_floor is not None]
        done = max([info.ack_floor.stream_seq for info in later if info.ack_floor], default=0)
        for info in others:
            try:
                await jetstream.delete_consumer(self._settings.stream, info.name)
            except NotFoundError:
                continue
            except (APIError, *CLIENT_ERRORS) as error:
                raise TemporaryError(f"JetStream does not answer: {type(error).__name__}") from None
        reader = JetStreamReader(self._connection, partition, epoch, max(after, done))
        await reader.open()
        return reader

    async def _consumers(self) -> list[ConsumerInfo]:
        """All consumers of the stream, page by page."""
        jetstream = self._connection.client.jetstream()
        found: list[ConsumerInfo] = []
        try:
            while True:
                page = await jetstream.consumers_info(self._settings.stream, offset=len(found))
                found.extend(page)
                if not page:
                    return found
        except (APIError, *CLIENT_ERRORS) as error:
            raise TemporaryError(f"JetStream does not answer: {type(error).__name__}") from None

    async def backlog(self, partitions: int) -> dict[int, int]:
        newest: dict[int, tuple[int, int]] = {}
        for info in await self._consumers():
            named = parse_consumer(info.name)
            if named is not None and named[0] < partitions:
                left = (info.num_pending or 0) + (info.num_ack_pending or 0)
                newest[named[0]] = max(newest.get(named[0], (-1, 0)), (named[1], left))
        return {partition: left for partition, (_, left) in newest.items()}


def _epoch(info: ConsumerInfo) -> int:
    named = parse_consumer(info.name)
    return named[1] if named is not None else 0


def _partition(info: ConsumerInfo) -> int | None:
    named = parse_consumer(info.name)
    return named[0] if named is not None else None
