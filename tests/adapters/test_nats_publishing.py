"""The numbers of a publisher: a gap in them must mean that the stream discarded something."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from nats.aio.msg import Msg

from cortexops.adapters.nats.connection import Connection
from cortexops.adapters.nats.publishing import MOST_IN_MESSAGE, PLACE, Publisher
from cortexops.settings_ingest import NatsSettings
from tests.ingest.support import signal


class FakeConnection:
    """The connection and its client. It stores what it does not know by its id, and answers at once."""

    def __init__(self) -> None:
        self.settings = NatsSettings()
        self.lost: list[Callable[[], None]] = []
        self.client = self
        self.stored: dict[str, str] = {}  # id → place
        self._answer: Callable[[Msg], Awaitable[None]]

    async def ensure(self) -> None: ...

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, subject: str, cb: Callable[[Msg], Awaitable[None]]) -> None:
        self._answer = cb

    async def publish(self, subject: str, data: bytes, *, reply: str, headers: Mapping[str, str]) -> None:
        duplicate = headers["Nats-Msg-Id"] in self.stored
        self.stored.setdefault(headers["Nats-Msg-Id"], headers[PLACE])
        body = json.dumps({"stream": "TELEMETRY", "seq": len(self.stored), "duplicate": duplicate}).encode()
        await self._answer(Msg(cast(Any, None), reply, "", body))

    def places(self) -> list[tuple[str, int, int]]:
        """Of what is stored, in order: publisher, messages before, signals before."""
        parts = [place.split("/") for place in self.stored.values()]
        return [(name, int(messages), int(signals)) for name, messages, signals in parts]


def made() -> tuple[FakeConnection, Publisher]:
    connection = FakeConnection()
    return connection, Publisher(cast(Connection, connection))


async def test_what_the_stream_has_already_leaves_no_gap() -> None:
    connection, publisher = made()
    x, y = signal("X"), signal("Y")
    assert await publisher.publish([x]) == [False]
    assert await publisher.publish([x]) == [True]
    assert await publisher.publish([y]) == [False]
    (first, *one), (second, *two) = connection.places()
    assert (one, two) == ([0, 0], [1, 1])
    assert first == second


async def test_several_repetitions_at_the_end_leave_no_gap_either() -> None:
    connection, publisher = made()
    many = [signal(f"A{n}") for n in range(2 * MOST_IN_MESSAGE)]  # two messages of one subject
    await publisher.publish(many)
    assert all(await publisher.publish(many))
    await publisher.publish([signal("Y")])
    assert [place[1:] for place in connection.places()] == [(0, 0), (1, 500), (2, 1000)]
    assert len({place[0] for place in connection.places()}) == 1


async def test_a_repetition_that_others_followed_ends_the_name() -> None:
    connection, publisher = made()
    many = [signal(f"A{n}") for n in range(2 * MOST_IN_MESSAGE)]
    await publisher.publish(many[:MOST_IN_MESSAGE])
    assert await publisher.publish(many) == [True] * MOST_IN_MESSAGE + [False] * MOST_IN_MESSAGE
    await publisher.publish([signal("Y")])
    first, second, third = connection.places()
    assert first[0] == second[0] != third[0]
    assert third[1:] == (0, 0)


async def test_a_repetition_of_one_subject_does_not_touch_the_numbers_of_another() -> None:
    connection, publisher = made()
    x, other = signal("X"), signal("X", cluster="other")
    await publisher.publish([x])
    assert await publisher.publish([x, other]) == [True, False]
    await publisher.publish([signal("Y"), signal("Y", cluster="other")])
    assert [place[1:] for place in connection.places()] == [(0, 0), (0, 0), (1, 1), (1, 1)]
    assert len({place[0] for place in connection.places()}) == 1
