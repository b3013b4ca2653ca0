"""What the stream discarded before it was read is counted for every publisher, once, and nothing else is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from cortexops.domain.correlation import STREAM_LIMIT
from cortexops.domain.partitions import Lease
from cortexops.ports.bus import Envelope, PartitionReader, Place, SignalBus, StreamState
from cortexops.ports.partitions import PartitionStore
from ingest import recorder as module
from ingest.recorder import Recorder
from tests.support.memory_store import MemoryStore

_LONG = timedelta(seconds=60)


class FakeBus:
    """The stream's extent, and what a reader would be told."""

    def __init__(self) -> None:
        self.first = 1
        self.asked = 0

    async def stream(self) -> StreamState:
        self.asked += 1
        return StreamState("T@1", self.first, 10_000)

    async def done(self, sequence: int) -> None: ...


class Books:
    """One recorder, fed with messages of one signal."""

    def __init__(self, floor: int = 0) -> None:
        self.bus = FakeBus()
        self.store = MemoryStore()
        self._lease = Lease("T@1", 0, 1, floor, (), {})
        self.recorder: Recorder

    async def open(self) -> Books:
        (taken,) = (await self.store.share("T@1", "a", 1, _LONG)).taken
        lease = self._lease._replace(epoch=taken.epoch)
        bus: Any = self.bus
        store = cast(PartitionStore, self.store)
        self.recorder = Recorder(lease, store, cast(SignalBus, bus), cast(PartitionReader, bus))
        return self

    async def read(self, sequence: int, publisher: str, number: int, *, behind: int = 1) -> None:
        """The publisher's message with this number; no publisher is another program."""
        place = Place(publisher, number, number) if publisher else None
        envelope = Envelope(b"", sequence, 0.0, place, behind)
        if self.recorder.may_be_behind_a_gap(envelope):
            await self.recorder.look_for_gap(envelope)
        self.recorder.read(envelope, 1)

    async def discarded(self) -> tuple[int, int]:
        """Messages and signals that are in the books as discarded."""
        await self.recorder.record()
        account = await self.store.account("T@1")
        return account.discarded_messages, account.fates.get(STREAM_LIMIT, 0)


@pytest.fixture
async def books() -> Books:
    return await Books().open()


async def test_what_each_subject_lost_in_one_jump_is_counted(books: Books) -> None:
    await books.read(1, "g alerts", 0)
    await books.read(2, "g watch", 0)
    books.bus.first = 203  # 3 to 202 are gone: 120 of one subject, 80 of the other
    await books.read(203, "g alerts", 121)
    await books.read(204, "g watch", 81)
    await books.read(205, "g alerts", 122)
    assert await books.discarded() == (200, 200)
    assert books.bus.asked == 1


async def test_the_first_message_after_a_jump_may_be_of_somebody_who_lost_nothing(books: Books) -> None:
    await books.read(1, "g alerts", 0)
    books.bus.first = 203
    await books.read(203, "", 0)
    await books.read(204, "new alerts", 0)
    await books.read(205, "g alerts", 202)
    assert await books.discarded() == (201, 201)


async def test_losses_of_two_jumps_add_up(books: Books) -> None:
    await books.read(1, "g alerts", 0)
    await books.read(2, "g watch", 0)
    books.bus.first = 13
    await books.read(13, "g alerts", 6)  # 5 of 10
    books.bus.first = 24
    await books.read(24, "g alerts", 12)  # 5 of 10
    await books.read(25, "g watch", 11)  # 5 and 5
    assert await books.discarded() == (20, 20)


async def test_a_gap_of_one_who_was_heard_after_the_jump_was_never_stored(books: Books) -> None:
    await books.read(1, "g alerts", 0)
    books.bus.first = 103
    await books.read(103, "g alerts", 52)
    await books.read(104, "g alerts", 60)
    await books.read(106, "g alerts", 65)
    assert await books.discarded() == (51, 51)


async def test_no_more_is_counted_than_the_jump_went_over(books: Books) -> None:
    await books.read(1, "g alerts", 0)
    books.bus.first = 12
    await books.read(12, "g alerts", 11)
    await books.read(13, "forgotten alerts", 5000)
    assert await books.discarded() == (10, 10)


async def test_at_the_end_of_the_partition_the_rest_is_left_to_the_audit(books: Books) -> None:
    await books.read(1, "g alerts", 0)
    await books.read(2, "g watch", 0)
    books.bus.first = 203
    await books.read(203, "g alerts", 101, behind=0)
    await books.read(204, "g watch", 101, behind=0)  # perhaps an hour later
    assert await books.discarded() == (100, 100)


async def test_a_gap_while_the_stream_keeps_everything_is_no_loss(books: Books) -> None:
    await books.read(1, "g alerts", 0)
    await books.read(5, "g alerts", 3)
    await books.read(6, "g alerts", 9)
    assert await books.discarded() == (0, 0)


async def test_a_jump_at_the_beginning_of_a_lease_is_seen() -> None:
    books = await Books(floor=50).open()
    books.bus.first = 70
    await books.read(70, "g alerts", 10)
    await books.read(71, "g watch", 9)
    assert await books.discarded() == (19, 19)


async def test_only_the_latest_publishers_are_remembered(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_PUBLISHERS", 3)
    for number in range(5):
        await books.read(number + 1, f"g{number} alerts", 0)
    await books.read(6, "g2 alerts", 1)
    assert list(books.recorder._places) == ["g3 alerts", "g4 alerts", "g2 alerts"]
