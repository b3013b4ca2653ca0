"""Cases are carried to memory until it has them, whatever is away meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from activities import recall
from activities.remembering import Remembering, wait_after
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.outgoing import Destination, Withheld
from tests.memory.support import a_case
from tests.memory.test_bad_memory import Memory
from tests.memory.test_embeddings import failures
from tests.support.case import a_ledger_row
from tests.support.engines import Database
from tests.support.postgres import an_entry, as_owner, opened


async def solved(store: PostgresStore) -> str:
    """An incident whose remedy is in the ledger and whose case waits."""
    incident = await opened(store)
    await store.intend(a_ledger_row(incident.id), an_entry(incident.id))
    await store.add_case(a_case(incident_id=incident.id))
    return incident.id


async def test_a_case_reaches_memory_with_what_the_books_know_of_it(store: PostgresStore) -> None:
    incident_id = await solved(store)
    memory = Memory()
    assert await Remembering(store, memory).round() == 1
    (stored,) = memory.stored
    assert stored.incident_id == incident_id
    assert len(stored.tried) == 1  # of the ledger
    assert await store.cases_waiting() == 0


@pytest.mark.parametrize("error", [TemporaryError("away"), PermanentError("the key is refused")])
async def test_while_memory_is_away_or_refuses_the_case_waits(
    store: PostgresStore, migrated_database: Database, error: Exception
) -> None:
    await solved(store)
    before = failures("remember")
    assert await Remembering(store, Memory(error=error)).round() == 1
    assert failures("remember") == before + 1
    assert await store.cases_waiting() == 1
    memory = Memory()
    assert await Remembering(store, memory).round() == 0  # not yet
    await as_owner(migrated_database, "UPDATE cases SET not_before = now()")
    assert await Remembering(store, memory).round() == 1
    assert len(memory.stored) == 1


async def test_a_memory_that_does_not_answer_holds_nobody_up(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.remembering.PATIENCE_SECONDS", 0.05)
    await solved(store)
    assert await Remembering(store, Memory(seconds=30)).round() == 1
    assert await store.cases_waiting() == 1


async def test_what_cannot_be_redacted_is_never_sent(
    store: PostgresStore, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise Withheld(Destination.EMBEDDING, "RuntimeError")

    monkeypatch.setattr(recall, "outgoing", broken)
    await solved(store)
    memory = Memory()
    await Remembering(store, memory).round()
    assert memory.stored == [] and await store.cases_waiting() == 0
    assert await as_owner(migrated_database, "SELECT state FROM cases") == [("refused",)]


async def test_what_another_version_wrote_is_set_aside(
    store: PostgresStore, migrated_database: Database
) -> None:
    await solved(store)
    await as_owner(migrated_database, """UPDATE cases SET body = '{"of": "another version"}'""")
    memory = Memory()
    await Remembering(store, memory).round()
    assert memory.stored == [] and await store.cases_waiting() == 0


async def test_a_secret_in_a_case_does_not_reach_memory(store: PostgresStore) -> None:
    incident = await opened(store)
    text = "postgres://orders:s3cret-Passw0rd@db.shop/orders refuses"
    await store.add_case(a_case(incident_id=incident.id, text=text))
    memory = Memory()
    await Remembering(store, memory).round()
    assert "s3cret-Passw0rd" not in memory.stored[0].model_dump_json()


async def test_it_runs_until_it_is_stopped_and_says_when_it_does_not(store: PostgresStore) -> None:
    memory = Memory()
    part = Remembering(store, memory, idle_seconds=0.02)
    await part.start()
    assert part.health() is None
    await solved(store)
    for _ in range(200):
        if memory.stored:
            break
        await asyncio.sleep(0.02)
    assert len(memory.stored) == 1
    await part.stop()
    assert part.health() is None

    broken = Remembering(store, memory)
    await broken.start()
    assert broken._loop is not None
    broken._loop.cancel()
    await asyncio.gather(broken._loop, return_exceptions=True)
    assert broken.health() == "cases are no longer carried to memory"


def test_waits_double_up_to_an_hour() -> None:
    assert [wait_after(n) for n in (1, 2, 3)] == [5, 10, 20]
    assert wait_after(10_000) == 3600
