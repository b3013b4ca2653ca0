"""Leases and books, the same on the memory stand-in and on Postgres."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import cast

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.correlation import Fate
from cortexops.domain.partitions import Entry, Lease, Settlement
from cortexops.domain.signal import FateReason, SignalFate
from cortexops.ports.partitions import Fenced, PartitionStore
from tests.support.memory_store import MemoryStore
from tests.support.postgres import a_signal, together

STREAM = "T@1"
TTL = timedelta(seconds=30)
STARTED = Fate(SignalFate.STARTED, FateReason.NEW_INCIDENT)
MERGED = Fate(SignalFate.MERGED, FateReason.OPEN_INCIDENT)


@pytest.fixture(params=["memory", "postgres"])
def books(request: pytest.FixtureRequest) -> PartitionStore:
    if request.param == "memory":
        return cast(PartitionStore, MemoryStore())
    store: PostgresStore = request.getfixturevalue("store")
    return store


def settlement(floor: int, *sequences: int, fates: tuple[Fate, ...] = (), discarded: int = 0) -> Settlement:
    signals = [a_signal(f"s{sequence}-{n}") for sequence in sequences for n in range(len(fates))]
    entries = [Entry(s.id, fate, "k", s.model_dump_json()) for s, fate in zip(signals, fates, strict=False)]
    return Settlement(floor, sequences, entries, Counter(fates), {"p telemetry.a.b.0": (3, 7)}, discarded)


async def test_partitions_are_shared_out_evenly_and_taken_from_nobody_alive(books: PartitionStore) -> None:
    first = await books.share(STREAM, "a", 8, TTL)
    assert [lease.partition for lease in first.taken] == list(range(8))
    assert (await books.share(STREAM, "b", 8, TTL)).taken == []
    again = await books.share(STREAM, "a", 8, TTL)
    assert again.release == [4, 5, 6, 7]
    for lease in first.taken[4:]:
        await books.release(lease, "a")
    second = await books.share(STREAM, "b", 8, TTL)
    assert [(lease.partition, lease.epoch) for lease in second.taken] == [(4, 2), (5, 2), (6, 2), (7, 2)]
    third = await books.share(STREAM, "c", 8, TTL)
    assert third.taken == []
    assert (await books.share(STREAM, "a", 8, TTL)).release == [3]
    assert (await books.share(STREAM, "b", 8, TTL)).release == [7]


async def test_many_at_once_never_get_the_same_partition(books: PartitionStore) -> None:
    found = await asyncio.gather(*(books.share(STREAM, f"m{n}", 16, TTL) for n in range(4)))
    numbers = [lease.partition for shared in found for lease in shared.taken]
    assert len(numbers) == len(set(numbers))


async def test_a_silent_owner_loses_its_partition_and_can_write_nothing_more(books: PartitionStore) -> None:
    (lease,) = (await books.share(STREAM, "a", 1, timedelta(milliseconds=50))).taken
    await asyncio.sleep(0.1)
    (after,) = (await books.share(STREAM, "b", 1, TTL)).taken
    assert after.epoch == lease.epoch + 1
    with pytest.raises(Fenced):
        await books.record_settlement(lease, settlement(1, 1, fates=(STARTED,)))
    account = await books.account(STREAM)
    assert (account.messages, account.signals) == (0, 0)
    await books.record_settlement(after, settlement(1, 1, fates=(STARTED,)))
    assert (await books.account(STREAM)).messages == 1


async def test_a_new_owner_goes_on_where_the_last_one_stood(books: PartitionStore) -> None:
    (lease,) = (await books.share(STREAM, "a", 1, TTL)).taken
    await books.record_settlement(lease, settlement(10, 8, 10, fates=(STARTED,)))
    await books.record_settlement(lease, settlement(10, 12, 13, 17, fates=(MERGED,)))
    await books.leave("a")
    (after,) = (await books.share(STREAM, "b", 1, TTL)).taken
    assert after.floor == 10
    assert [n for n in range(8, 20) if after.settled(n)] == [8, 9, 10, 12, 13, 17]
    assert after.places == {"p telemetry.a.b.0": (3, 7)}
    await books.record_settlement(after, settlement(13, 11))
    await books.leave("b")
    (last,) = (await books.share(STREAM, "c", 1, TTL)).taken
    assert last.floor == 13
    assert last.settled(17)
    assert not last.settled(14)


async def test_the_sums_come_out(books: PartitionStore) -> None:
    first, second = (await books.share(STREAM, "a", 2, TTL)).taken
    await books.record_settlement(first, settlement(1, 1, 3, fates=(STARTED, MERGED, MERGED)))
    await books.record_settlement(second, settlement(2, 2, fates=(MERGED,), discarded=4))
    await books.discarded(STREAM, 3)
    account = await books.account(STREAM)
    assert account.messages == 3
    assert account.discarded_messages == 7
    dropped = Fate(SignalFate.DROPPED, FateReason.STREAM_LIMIT)
    assert dict(account.fates) == {STARTED: 1, MERGED: 3, dropped: 3}
    assert account.unaccounted(10, 0) == 0
    assert account.unaccounted(12, 2) == 0


async def test_partitions_stay_when_fewer_are_wanted(books: PartitionStore) -> None:
    await books.share(STREAM, "a", 8, TTL)
    await books.leave("a")
    assert len((await books.share(STREAM, "b", 2, TTL)).taken) == 8


async def test_settlements_of_two_owners_at_once_do_not_wait_for_each_other(store: PostgresStore) -> None:
    first, second = (await store.share(STREAM, "a", 2, TTL)).taken

    async def settle(lease: Lease) -> None:
        for n in range(20):
            await store.record_settlement(lease, settlement(n, n, fates=(STARTED,)))

    await together(settle(first), settle(second))
    assert (await store.account(STREAM)).messages == 40
