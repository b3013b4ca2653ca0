"""Cases on their way to memory: stored once, held by one at a time, back after the lease."""

from __future__ import annotations

import asyncio

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.errors import CortexError
from tests.memory.support import a_case
from tests.support.engines import Database
from tests.support.postgres import as_owner, opened, together


async def waiting(store: PostgresStore, number: int = 1) -> str:
    """The id of an incident whose case waits."""
    incident = await opened(store, key=f"k{number}", run=f"run-{number}")
    await store.add_case(a_case(incident_id=incident.id))
    return incident.id


async def test_a_case_is_stored_once_and_taken_by_one(store: PostgresStore) -> None:
    incident_id = await waiting(store)
    await store.add_case(a_case(incident_id=incident_id, name="other"))  # the activity was repeated
    taken = await together(*(store.take_cases(most=5, lease_seconds=30) for _ in range(4)))
    (pending,) = [pending for batch in taken for pending in batch]
    assert (pending.incident_id, pending.attempts) == (incident_id, 1)
    assert pending.case is not None and pending.case.name == "api"
    await store.case_remembered(incident_id)
    assert await store.cases_waiting() == 0
    await store.add_case(a_case(incident_id=incident_id))
    assert await store.cases_waiting() == 0


async def test_a_case_whose_carrier_died_comes_back_after_the_lease(store: PostgresStore) -> None:
    incident_id = await waiting(store)
    await store.take_cases(most=5, lease_seconds=0.2)
    assert await store.take_cases(most=5, lease_seconds=30) == []
    await asyncio.sleep(0.25)
    (again,) = await store.take_cases(most=5, lease_seconds=30)
    assert (again.incident_id, again.attempts) == (incident_id, 2)


async def test_a_case_to_be_tried_again_waits_and_a_refused_one_never_comes_back(
    store: PostgresStore,
) -> None:
    later, never = await waiting(store, 1), await waiting(store, 2)
    await store.take_cases(most=5, lease_seconds=0.01)
    await store.case_refused(never, "cannot be redacted")
    await store.retry_case(later, delay_seconds=0.2, detail="memory is away")
    assert await store.take_cases(most=5, lease_seconds=30) == []
    assert await store.cases_waiting() == 1
    await asyncio.sleep(0.25)
    assert [p.incident_id for p in await store.take_cases(most=5, lease_seconds=30)] == [later]


async def test_the_longest_waiting_goes_first_and_only_so_many(store: PostgresStore) -> None:
    ids = [await waiting(store, number) for number in range(4)]
    assert {p.incident_id for p in await store.take_cases(most=3, lease_seconds=30)} == set(ids[:3])


async def test_what_cannot_be_read_is_handed_out_without_its_content(
    store: PostgresStore, migrated_database: Database
) -> None:
    incident_id = await waiting(store)
    await as_owner(migrated_database, """UPDATE cases SET body = '{"of": "another version"}'""")
    (pending,) = await store.take_cases(most=5, lease_seconds=30)
    assert (pending.incident_id, pending.case) == (incident_id, None)


async def test_a_case_of_no_incident_is_refused(store: PostgresStore) -> None:
    with pytest.raises(CortexError):
        await store.add_case(a_case(incident_id="INC-20200101-001"))
