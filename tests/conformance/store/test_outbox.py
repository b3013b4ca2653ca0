"""Messages: in order per incident and channel, held by one sender at a time, in one thread."""

from __future__ import annotations

import asyncio

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.incident import Incident
from tests.support.engines import Database
from tests.support.postgres import a_message, opened, together


async def three_messages(store: PostgresStore, run: str = "run-1") -> Incident:
    """`detected`, `one`, `two` of one incident."""
    incident = await opened(store, key=f"k{run}", run=run)
    await store.update_incident(incident, [], [a_message(incident, "one"), a_message(incident, "two")])
    return incident


async def test_messages_of_an_incident_go_one_after_the_other(store: PostgresStore) -> None:
    await three_messages(store)
    texts = []
    for _ in range(3):
        (pending,) = await store.take(["slack"])
        assert await store.take(["slack"]) == []  # the next waits until this one is settled
        texts.append(pending.message.key.partition("/")[2])
        await store.delivered(pending.id, f"ref-{len(texts)}")
    assert texts == ["detected", "one", "two"]
    assert await store.waiting() == 3  # the other channel's
    assert len(await store.take(["slack", "pager"])) == 1


async def test_the_thread_is_what_the_last_delivery_returned(store: PostgresStore) -> None:
    await three_messages(store)
    threads = []
    for reference in ("first", "second", ""):
        (pending,) = await store.take(["slack"])
        threads.append(pending.thread)
        await store.delivered(pending.id, reference)
    assert threads == ["", "first", "second"]
    (pending,) = await store.take(["pager"])
    assert pending.thread == ""


async def test_a_message_whose_sender_died_comes_back_after_the_lease(store: PostgresStore) -> None:
    await three_messages(store)
    (first,) = await store.take(["slack"], lease_seconds=0.2)
    assert first.attempts == 1
    assert await store.take(["slack"]) == []
    await asyncio.sleep(0.25)
    (again,) = await store.take(["slack"])
    assert (again.id, again.attempts) == (first.id, 2)
    await store.delivered(again.id, "kept")
    await store.delivered(first.id, "too late")
    await store.refused(first.id, "too late")
    (following,) = await store.take(["slack"])
    assert following.thread == "kept"


async def test_retry_waits_and_refusal_lets_the_next_pass(store: PostgresStore) -> None:
    await three_messages(store)
    (first,) = await store.take(["slack"])
    await store.retry(first.id, delay_seconds=0.2, detail="429")
    assert await store.take(["slack"]) == []
    await asyncio.sleep(0.25)
    (again,) = await store.take(["slack"])
    assert again.id == first.id
    await store.refused(again.id, "no such channel")
    (following,) = await store.take(["slack"])
    assert following.message.key.endswith("/one")
    assert await store.waiting() == 5


async def test_senders_never_hold_the_same_message(store: PostgresStore, migrated_database: Database) -> None:
    for run in range(20):
        await three_messages(store, run=f"r{run}")
    other = await PostgresStore.connect(migrated_database.dsn)
    try:
        batches = await together(*(sender.take(["slack"], most=7) for sender in (store, other) * 4))
    finally:
        await other.close()
    taken = [pending for batch in batches for pending in batch]
    assert all(len(batch) <= 7 for batch in batches)
    assert len({pending.id for pending in taken}) == len(taken) == 20
    assert {pending.message.kind for pending in taken} == {"detected"}
    for batch in batches:
        assert [pending.id for pending in batch] == sorted(pending.id for pending in batch)


async def test_without_notifiers_nothing_is_queued(migrated_database: Database) -> None:
    silent = await PostgresStore.connect(migrated_database.dsn)
    try:
        await three_messages(silent)
        assert await silent.waiting() == 0
        assert await silent.take([]) == []
    finally:
        await silent.close()
