"""What a reader makes of deliveries when some were lost on the way, with a server that does as it is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

from cortexops.adapters.nats.connection import Connection
from cortexops.adapters.nats.reading import JetStreamReader
from cortexops.settings_ingest import NatsSettings

SHORTLY = timedelta(milliseconds=10)


class FakeConnection:
    """The connection, its client and its JetStream in one. Only `break_during` breaks it."""

    def __init__(self) -> None:
        self.settings = NatsSettings()
        self.lost: list[Callable[[], None]] = []
        self.back: list[Callable[[], None]] = []
        self.client = self
        self.is_connected, self.is_closed = True, False
        self.started_at: list[int | None] = []
        self.break_during = False

    async def ensure(self) -> None: ...

    def jetstream(self) -> FakeConnection:
        return self

    async def delete_consumer(self, stream: str, name: str) -> None: ...

    async def add_consumer(self, stream: str, config: ConsumerConfig) -> None:
        self.started_at.append(config.opt_start_seq)
        if self.break_during:
            self.break_during = False
            self.tell(self.lost)

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, subject: str, **_: Any) -> Any:
        return SimpleNamespace()

    async def publish(self, subject: str, data: bytes, **_: Any) -> None: ...

    @staticmethod
    def tell(listeners: list[Callable[[], None]]) -> None:
        for listener in listeners:
            listener()


def delivery(sequence: int, number: int, domain: str = "") -> Msg:
    """The message at this position, as the so-manyth that its consumer sends."""
    head, tail = ("$JS.ACK.hub.account", ".token") if domain else ("$JS.ACK", "")
    reply = f"{head}.TELEMETRY.correlator-0-1.1.{sequence}.{number}.1700000000000000000.0{tail}"
    return Msg(cast(Any, None), "telemetry.a.b.0", reply, b"{}")


async def opened(after: int) -> tuple[FakeConnection, JetStreamReader]:
    connection = FakeConnection()
    reader = JetStreamReader(cast(Connection, connection), 0, 1, after)
    await reader.open()
    return connection, reader


async def received(reader: JetStreamReader) -> list[int]:
    return [envelope.sequence for envelope in await reader.fetch(100, SHORTLY)]


@pytest.mark.parametrize("domain", ["", "hub"])
async def test_what_was_lost_on_the_way_is_read_again_and_nothing_behind_it_is_taken(domain: str) -> None:
    connection, reader = await opened(0)
    for sequence in range(1, 101):
        await reader._on_delivery(delivery(sequence, sequence, domain))
    await reader._on_delivery(delivery(104, 104, domain))
    await reader._on_delivery(delivery(105, 105, domain))
    assert await received(reader) == list(range(1, 101))
    assert await received(reader) == []
    assert connection.started_at == [1, 101]
    await reader._on_delivery(delivery(101, 1, domain))
    assert await received(reader) == [101]


async def test_positions_of_other_partitions_are_no_loss() -> None:
    connection, reader = await opened(99)
    await reader._on_delivery(delivery(100, 1))
    await reader._on_delivery(delivery(104, 2))
    assert await received(reader) == [100, 104]
    assert connection.started_at == [100]


@pytest.mark.parametrize("event", ["lost", "back"])
async def test_what_an_old_request_brings_is_not_taken_before_there_is_a_new_consumer(event: str) -> None:
    connection, reader = await opened(99)
    await reader._on_delivery(delivery(100, 1))
    connection.tell(getattr(connection, event))
    await reader._on_delivery(delivery(101, 2))
    assert await received(reader) == [100]
    assert await received(reader) == []
    assert connection.started_at == [100, 101]
    await reader._on_delivery(delivery(101, 1))
    assert await received(reader) == [101]


async def test_a_connection_that_breaks_while_the_consumer_is_made_needs_another_one() -> None:
    connection, reader = await opened(99)
    connection.tell(connection.lost)
    connection.break_during = True
    assert await received(reader) == []
    await reader._on_delivery(delivery(104, 1))
    assert await received(reader) == []
    assert connection.started_at == [100, 100, 100]


async def test_a_repetition_is_passed_over_and_counts_as_sent() -> None:
    _, reader = await opened(99)
    for sequence, number in ((100, 1), (100, 2), (101, 3)):
        await reader._on_delivery(delivery(sequence, number))
    assert await received(reader) == [100, 101]


async def test_a_closed_reader_hears_no_more_of_the_connection() -> None:
    connection, reader = await opened(0)
    connection.is_closed = True
    await reader.close()
    assert (connection.lost, connection.back) == ([], [])
