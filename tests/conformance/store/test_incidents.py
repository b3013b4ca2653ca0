"""Incidents: ids, idempotent opening, state that never goes back, listing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.diagnosis import Diagnosis, Verdict
from cortexops.domain.errors import NotFound
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.signal import Severity
from tests.support.engines import Database
from tests.support.postgres import (
    API,
    NOW,
    a_draft,
    a_message,
    a_signal,
    an_entry,
    as_owner,
    moved,
    opened,
    together,
)


async def test_the_first_incident_of_a_day_has_number_one(store: PostgresStore) -> None:
    assert (await opened(store)).id == "INC-20260102-001"
    assert (await opened(store, run="run-2")).id == "INC-20260102-002"
    assert (await opened(store, run="run-3", detected_at=NOW + timedelta(days=1))).id == "INC-20260103-001"


async def test_the_day_is_that_of_utc(store: PostgresStore) -> None:
    late = datetime(2026, 1, 2, 1, 0, tzinfo=timezone(timedelta(hours=5)))
    assert (await opened(store, detected_at=late)).id == "INC-20260101-001"


async def test_ids_grow_beyond_three_digits(store: PostgresStore, migrated_database: Database) -> None:
    await as_owner(migrated_database, "INSERT INTO incident_counters VALUES ('2026-01-02', 999)")
    assert (await opened(store)).id == "INC-20260102-1000"
    newer = await opened(store, run="run-2")
    assert [found.id for found in await store.incidents()] == [newer.id, "INC-20260102-1000"]


async def test_opening_twice_answers_the_stored_incident(store: PostgresStore) -> None:
    signals = [a_signal(), a_signal("Other"), a_signal()]
    entry = an_entry("platform", detail="three signals")
    first = await store.open_incident(a_draft(), signals, entry)
    again = await store.open_incident(a_draft(title="told otherwise"), signals, entry)
    assert again == first == await store.incident(first.id)
    assert [event.chain for event in await store.events(first.id)] == [first.id]
    assert await store.events("platform") == []
    assert await store.waiting() == 2  # one `detected` for each of the two notifiers
    assert {signal.id for signal in await store.signals_of(first.id)} == {signals[0].id, signals[1].id}
    (pending,) = await store.take(["slack"])
    assert (pending.message.kind, pending.message.incident_id, pending.message.text) == (
        "detected",
        first.id,
        "three signals",
    )


async def test_two_processes_opening_one_run_agree_on_the_id(
    store: PostgresStore, migrated_database: Database
) -> None:
    other = await PostgresStore.connect(migrated_database.dsn)
    try:
        for run in range(10):
            one, two = await together(opened(store, run=f"run-{run}"), opened(other, run=f"run-{run}"))
            assert one == two
    finally:
        await other.close()
    assert len(await store.incidents()) == 10


async def test_fifty_openings_at_once_have_fifty_ids(store: PostgresStore) -> None:
    incidents = await together(*(opened(store, key=f"k{n}", run=f"r{n}") for n in range(50)))
    assert len({incident.id for incident in incidents}) == 50
    assert await store.verify() == (50, [])


async def test_an_update_stores_state_audit_and_messages_together(store: PostgresStore) -> None:
    incident = await opened(store)
    investigating = moved(incident, IncidentState.INVESTIGATING)
    entry = an_entry(incident.id)
    for _ in range(2):
        await store.update_incident(investigating, [entry], [a_message(investigating, "one")])
    assert await store.incident(incident.id) == investigating
    assert len(await store.events(incident.id)) == 2
    assert await store.waiting() == 4


async def test_a_failing_update_leaves_nothing_behind(store: PostgresStore) -> None:
    stranger = a_draft().model_copy(update={"id": "INC-20260102-777"})
    with pytest.raises(NotFound, match="INC-20260102-777"):
        await store.update_incident(stranger, [an_entry(stranger.id)], [a_message(stranger, "one")])
    assert await store.events(stranger.id) == []
    assert await store.waiting() == 0


async def test_a_late_try_does_not_take_an_incident_back(store: PostgresStore) -> None:
    incident = await opened(store)
    older = moved(incident, IncidentState.INVESTIGATING)
    ended = moved(incident, IncidentState.RESOLVED, seconds=60)
    late = moved(incident, IncidentState.INVESTIGATING, seconds=90)
    await store.update_incident(ended, [])
    for update in (older, late):
        assert await store.update_incident(update, [an_entry(incident.id)])
    assert await store.incident(incident.id) == ended
    assert len(await store.events(incident.id)) == 3, "what its own workflow said of it is kept all the same"


async def test_nobody_hears_or_reads_of_a_second_end(store: PostgresStore) -> None:
    incident = await opened(store)
    waiting = await store.waiting()
    terminated = moved(incident, IncidentState.ESCALATED, seconds=60, reason=Reason.TERMINATED)
    await store.end_orphan(terminated, [], [], [])
    late = moved(incident, IncidentState.RESOLVED, seconds=90)
    entry = an_entry(incident.id, data={"after": "RESOLVED"})
    assert not await store.update_incident(late, [entry], [a_message(late, "ended")])
    assert [e for e in await store.events(incident.id) if e.data.get("after") == "RESOLVED"] == []
    assert await store.waiting() == waiting
    known = await store.incident(incident.id)
    assert known is not None
    assert known.state is IncidentState.ESCALATED


async def test_the_call_that_ended_it_loses_nothing_when_it_is_repeated(store: PostgresStore) -> None:
    incident = await opened(store)
    ended = moved(incident, IncidentState.RESOLVED)
    entry = an_entry(incident.id)
    said = [
        await store.update_incident(ended, [entry], [a_message(ended, "ended")]),
        await store.update_incident(ended, [entry], [a_message(ended, "ended")]),
    ]
    assert said == [True, True]
    assert await store.incident(incident.id) == ended
    assert len(await store.events(incident.id)) == 2
    assert await store.waiting() == 4


async def test_listing_filters_and_pages(store: PostgresStore) -> None:
    first = await opened(store, run="1", severity=Severity.LOW)
    second = await opened(store, run="2", detected_at=NOW + timedelta(minutes=1))
    third = await opened(store, run="3", detected_at=NOW + timedelta(minutes=2))
    ended = moved(second, IncidentState.ESCALATED)
    await store.update_incident(ended, [])
    assert await store.incidents() == [third, ended, first]
    assert await store.incidents(open_only=True) == [third, first]
    assert await store.incidents(states=[IncidentState.ESCALATED]) == [ended]
    assert await store.incidents(severity=Severity.LOW) == [first]
    assert await store.incidents(most=1) == [third]
    assert await store.incidents(before=third.detected_at) == [ended, first]


async def test_open_and_ended_keys(store: PostgresStore) -> None:
    for run, key in (("1", "a"), ("2", "a"), ("3", "b"), ("4", "c")):
        incident = await opened(store, key=key, run=run)
        if key != "c":
            await store.update_incident(moved(incident, IncidentState.RESOLVED, seconds=int(run)), [])
    await opened(store, key="b", run="5", detected_at=NOW + timedelta(minutes=5))
    ended = await store.last_ended(["a", "b", "c", "none"])
    assert {key: (found.id[-3:], found.ended_at) for key, found in ended.items()} == {
        "a": ("002", NOW + timedelta(seconds=2)),
        "b": ("003", NOW + timedelta(seconds=3)),
    }
    opening = await store.open_keys(["a", "b", "c", "none"])
    assert opening == {"b": NOW + timedelta(minutes=5), "c": NOW}
    assert await store.open_keys([]) == {}


async def test_the_newest_diagnosis_stays(store: PostgresStore) -> None:
    incident = await opened(store)
    assert await store.diagnosis(incident.id) is None
    for verdict in (Verdict.UNKNOWN, Verdict.HEALTHY):
        await store.save_diagnosis(incident.id, Diagnosis(target=API, verdict=verdict, onset=NOW))
    assert await store.diagnosis(incident.id) == Diagnosis(target=API, verdict=Verdict.HEALTHY, onset=NOW)
    with pytest.raises(NotFound):
        await store.save_diagnosis("INC-none", Diagnosis(target=API, verdict=Verdict.UNKNOWN))


async def test_what_postgres_cannot_hold_is_replaced_not_refused(store: PostgresStore) -> None:
    signal = a_signal(summary="killed\x00by", labels={"a\x00": r"\u0000 as text"})
    incident = await store.open_incident(
        a_draft(title="t\x00", key="k\x00"), [signal], an_entry("platform", detail="d\x00")
    )
    (stored,) = await store.signals_of(incident.id)
    assert (stored.summary, stored.labels) == ("killed�by", {"a�": r"\u0000 as text"})
    assert set(await store.open_keys(["k\x00"])) == {"k�"}
    assert (await store.events(incident.id))[0].detail == "d⟨U+0000⟩"
    assert (await store.verify())[1] == []


async def test_health_and_closing(store: PostgresStore) -> None:
    assert await store.health() is None
    await asyncio.gather(*(store.health() for _ in range(20)))
    assert datetime.now(UTC) > NOW
