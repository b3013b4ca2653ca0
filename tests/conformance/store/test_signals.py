"""The log of signals: what became of each, newest first, and thousands go in at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.correlation import Fate
from cortexops.domain.incident import IncidentState
from cortexops.domain.partitions import Entry, Lease, Settlement
from cortexops.domain.signal import FateReason, Signal, SignalFate
from tests.support.postgres import a_draft, a_signal, an_entry, moved, opened

STARTED = Fate(SignalFate.STARTED, FateReason.NEW_INCIDENT)
MERGED = Fate(SignalFate.MERGED, FateReason.OPEN_INCIDENT)
COOLDOWN = Fate(SignalFate.SUPPRESSED, FateReason.COOLDOWN)


async def lease_of(store: PostgresStore) -> Lease:
    shared = await store.share("T@1", "me", 1, timedelta(seconds=30))
    return shared.taken[0]


async def log(store: PostgresStore, lease: Lease, records: Sequence[tuple[Signal, Fate, str]]) -> None:
    entries = [Entry(signal.id, fate, key, signal.model_dump_json()) for signal, fate, key in records]
    counts = Counter(fate for _, fate, _ in records)
    await store.record_settlement(lease, Settlement(lease.floor, [], entries, counts, {}))


async def test_a_signal_that_fires_on_belongs_to_the_later_incident(store: PostgresStore) -> None:
    signal, lease = a_signal(), await lease_of(store)
    await log(store, lease, [(signal, STARTED, "k")])
    first = await store.open_incident(a_draft("k", "1"), [signal], an_entry("platform"))
    found = await store.signal(signal.id)
    assert found is not None
    assert (found.signal, found.fate, found.incident_key, found.incident_id) == (
        signal,
        STARTED,
        "k",
        first.id,
    )
    after = (await store.known_signals([signal.id, "unknown"]))[signal.id]
    ended = moved(first, IncidentState.ESCALATED).model_copy(update={"updated_at": after, "ended_at": after})
    await store.update_incident(ended, [])
    await log(store, lease, [(signal, STARTED, "k")])
    second = await store.open_incident(a_draft("k", "2"), [signal], an_entry("platform"))
    found = await store.signal(signal.id)
    assert found is not None
    assert (found.fate, found.incident_id) == (STARTED, second.id)
    assert found.recorded_at > after


async def test_a_suppressed_signal_leads_to_no_incident(store: PostgresStore) -> None:
    signal, lease = a_signal(), await lease_of(store)
    await opened(store, "k", "1")
    await log(store, lease, [(signal, COOLDOWN, "k")])
    found = await store.signal(signal.id)
    assert found is not None
    assert (found.fate, found.incident_id) == (COOLDOWN, None)


async def test_signals_merged_later_are_the_incidents_too(store: PostgresStore) -> None:
    opening, merged, foreign, suppressed = (a_signal(name) for name in "abcd")
    lease = await lease_of(store)
    incident = await store.open_incident(a_draft("k", "1"), [opening], an_entry("platform"))
    await log(store, lease, [(merged, MERGED, "k"), (foreign, MERGED, "other"), (suppressed, COOLDOWN, "k")])
    assert {signal.name for signal in await store.signals_of(incident.id)} == {"a", "b"}
    found = await store.signal(merged.id)
    assert found is not None
    assert found.incident_id == incident.id
    assert await store.signal("unknown") is None


async def test_open_incidents_are_given_with_the_signals_they_were_opened_with(store: PostgresStore) -> None:
    signal = a_signal()
    draft = a_draft("k", "1")
    incident = await store.open_incident(draft, [signal], an_entry("platform"))
    cluster = incident.resource.cluster
    found = await store.open_signals(cluster)
    assert [Signal.model_validate_json(body) for body in found["k"][1]] == [signal]
    assert found["k"][0] == incident.resource
    assert await store.open_signals("elsewhere") == {}
    at = incident.updated_at
    await store.update_incident(
        moved(incident, IncidentState.ESCALATED).model_copy(update={"updated_at": at, "ended_at": at}), []
    )
    assert await store.open_signals(cluster) == {}


async def test_five_thousand_signals_in_one_call_take_less_than_a_second(store: PostgresStore) -> None:
    signals, lease = [a_signal(f"n{n}", summary="x" * 200) for n in range(5000)], await lease_of(store)
    start = time.perf_counter()
    await log(store, lease, [(signal, STARTED, f"k{n % 50}") for n, signal in enumerate(signals)])
    recorded = time.perf_counter() - start
    start = time.perf_counter()
    known = await store.known_signals([signal.id for signal in signals])
    read = time.perf_counter() - start
    assert len(known) == 5000
    assert recorded < 1
    assert read < 1
