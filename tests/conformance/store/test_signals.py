"""Fates: the first stays, a later incident's is added, and thousands go in at once."""

from __future__ import annotations

import time

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.correlation import Fate
from cortexops.domain.incident import IncidentState
from cortexops.domain.signal import FateReason, SignalFate
from tests.support.engines import Database
from tests.support.postgres import a_draft, a_signal, an_entry, as_owner, moved, opened, together

STARTED = Fate(SignalFate.STARTED, FateReason.NEW_INCIDENT)
MERGED = Fate(SignalFate.MERGED, FateReason.OPEN_INCIDENT)
DUPLICATE = Fate(SignalFate.MERGED, FateReason.DUPLICATE)
COOLDOWN = Fate(SignalFate.SUPPRESSED, FateReason.COOLDOWN)


async def rows_of(database: Database) -> int:
    return int((await as_owner(database, "SELECT count(*) FROM signal_fates"))[0][0])


async def test_the_first_fate_of_a_signal_stays(store: PostgresStore, migrated_database: Database) -> None:
    signal = a_signal()
    await store.record_fates([(signal, STARTED, "k")])
    seen = await store.known_signals([signal.id, "unknown"])
    for fate in (STARTED, DUPLICATE, COOLDOWN, MERGED):
        await store.record_fates([(signal, fate, "k"), (signal, fate, "k")])
    assert await store.known_signals([signal.id, "unknown"]) == seen
    assert set(seen) == {signal.id}
    assert await rows_of(migrated_database) == 1
    record = await store.signal(signal.id)
    assert record is not None
    assert (record.signal, record.fate, record.incident_key) == (signal, STARTED, "k")


async def test_a_signal_that_fires_on_belongs_to_the_later_incident(
    store: PostgresStore, migrated_database: Database
) -> None:
    signal = a_signal()
    await store.record_fates([(signal, STARTED, "k")])
    first = await store.open_incident(a_draft("k", "1"), [signal], an_entry("platform"))
    found = await store.signal(signal.id)
    assert found is not None
    assert found.incident_id == first.id
    after = (await store.known_signals([signal.id]))[signal.id]
    ended = moved(first, IncidentState.ESCALATED).model_copy(update={"updated_at": after, "ended_at": after})
    await store.update_incident(ended, [])
    for _ in range(2):
        await store.record_fates([(signal, STARTED, "k")])
    assert await rows_of(migrated_database) == 2
    second = await store.open_incident(a_draft("k", "2"), [signal], an_entry("platform"))
    found = await store.signal(signal.id)
    assert found is not None
    assert (found.fate, found.incident_id) == (STARTED, second.id)
    assert found.recorded_at > after


async def test_a_suppressed_signal_may_start_an_incident_later(
    store: PostgresStore, migrated_database: Database
) -> None:
    signal = a_signal()
    await store.record_fates([(signal, COOLDOWN, "k")])
    found = await store.signal(signal.id)
    assert found is not None
    assert (found.fate, found.incident_id) == (COOLDOWN, None)
    for _ in range(2):
        await store.record_fates([(signal, STARTED, "k")])
    assert await rows_of(migrated_database) == 2


async def test_signals_merged_later_are_the_incidents_too(store: PostgresStore) -> None:
    opening, merged, foreign, suppressed = (a_signal(name) for name in "abcd")
    incident = await store.open_incident(a_draft("k", "1"), [opening], an_entry("platform"))
    await store.record_fates([(merged, MERGED, "k"), (foreign, MERGED, "other"), (suppressed, COOLDOWN, "k")])
    assert {signal.name for signal in await store.signals_of(incident.id)} == {"a", "b"}
    found = await store.signal(merged.id)
    assert found is not None
    assert found.incident_id == incident.id
    assert await store.signal("unknown") is None
    await opened(store, "other", "2")


async def test_the_same_batch_in_two_correlators_is_recorded_once(
    store: PostgresStore, migrated_database: Database
) -> None:
    signals = [a_signal(f"n{n}") for n in range(300)]
    forward = [(signal, STARTED, "k") for signal in signals]
    await together(
        *(store.record_fates(batch) for batch in (forward, forward[::-1], forward[100:] + forward[:100]))
    )
    assert await rows_of(migrated_database) == 300


async def test_five_thousand_signals_in_one_call_take_less_than_a_second(store: PostgresStore) -> None:
    signals = [a_signal(f"n{n}", summary="x" * 200) for n in range(5000)]
    start = time.perf_counter()
    await store.record_fates([(signal, STARTED, f"k{n % 50}") for n, signal in enumerate(signals)])
    recorded = time.perf_counter() - start
    start = time.perf_counter()
    known = await store.known_signals([signal.id for signal in signals])
    read = time.perf_counter() - start
    print(f"record_fates {recorded:.3f} s, known_signals {read:.3f} s")
    assert len(known) == 5000
    assert recorded < 1
    assert read < 1
