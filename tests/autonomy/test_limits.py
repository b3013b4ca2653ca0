"""Who may remediate now: as a function, and with processes that race for the last place."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.guards import admitted
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.errors import TemporaryError
from cortexops.domain.limits import Entry, Phase, RemediationLimits, Slot, admission
from tests.autonomy.support import NOW, a_target, an_action, ended
from tests.support.engines import Database
from tests.support.postgres import opened

LIMITS = RemediationLimits(at_once=2, queued=2, incident_seconds=1800)
RUN, ASK = Phase.RUNNING, Phase.ASKING


class Hall:
    """The slots as the store would keep them."""

    def __init__(self, limits: RemediationLimits = LIMITS) -> None:
        self.kept: dict[str, Slot] = {}
        self.limits = limits

    def enter(
        self, incident: str, target: str = "", wants: Phase = RUN, now: datetime = NOW
    ) -> tuple[Entry, str]:
        found = admission(list(self.kept.values()), incident, target or incident, wants, self.limits, now)
        if found.entry is not Entry.REFUSED and found.slot is not None:
            self.kept[incident] = found.slot
        return found.entry, found.reason

    def running(self, now: datetime) -> list[Slot]:
        return [s for s in self.kept.values() if s.phase is RUN and s.expires_at > now]


def test_so_many_run_so_many_wait_and_the_next_is_refused() -> None:
    hall = Hall()
    found = [hall.enter(name) for name in "abcde"]
    assert found == [
        (Entry.ADMITTED, ""),
        (Entry.ADMITTED, ""),
        (Entry.WAIT, "too_many_remediations"),
        (Entry.WAIT, "too_many_remediations"),
        (Entry.REFUSED, "queue_full"),
    ]


def test_who_came_first_goes_first() -> None:
    hall = Hall()
    for at, name in enumerate("abcd"):
        hall.enter(name, now=NOW + timedelta(seconds=at))
    del hall.kept["a"]
    later = NOW + timedelta(seconds=30)
    assert hall.enter("d", now=later)[0] is Entry.WAIT
    assert hall.enter("new", now=later) == (Entry.REFUSED, "queue_full")
    assert hall.enter("c", now=later)[0] is Entry.ADMITTED


def test_one_object_is_mended_by_one_incident() -> None:
    hall = Hall()
    assert hall.enter("a", "api", ASK)[0] is Entry.ADMITTED
    assert hall.enter("b", "api", ASK) == (Entry.WAIT, "target_locked")
    assert hall.enter("b", "web", ASK)[0] is Entry.ADMITTED


def test_who_only_asks_people_takes_no_place_of_those_who_act() -> None:
    hall = Hall()
    assert {hall.enter(name, wants=ASK)[0] for name in "abcdef"} == {Entry.ADMITTED}
    assert [hall.enter(name)[0] for name in "abc"] == [Entry.ADMITTED, Entry.ADMITTED, Entry.WAIT]
    assert hall.kept["c"].phase is ASK  # it keeps the object while it waits


def test_a_lease_that_is_over_makes_room() -> None:
    hall = Hall()
    hall.enter("a", "api")
    later = NOW + LIMITS.lease + timedelta(seconds=1)
    assert hall.enter("b", "api", now=later)[0] is Entry.ADMITTED


def test_the_time_of_one_incident_is_limited() -> None:
    hall = Hall()
    hall.enter("a")
    assert hall.enter("a", "other", now=NOW + timedelta(seconds=1800))[0] is Entry.ADMITTED
    assert hall.enter("a", now=NOW + timedelta(seconds=1801)) == (Entry.REFUSED, "incident_time_exhausted")


def test_asking_again_changes_nothing_for_who_is_in() -> None:
    hall = Hall()
    for name in "ab":
        hall.enter(name)
    assert [hall.enter(name)[0] for name in "abab"] == [Entry.ADMITTED] * 4


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"),
            st.sampled_from(["", "x", "y"]),
            st.sampled_from([RUN, ASK]),
            st.integers(0, 400),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_never_too_many_and_never_two_on_one_object(
    calls: list[tuple[str, str, Phase, int, bool]],
) -> None:
    hall, now = Hall(), NOW
    for incident, target, wants, seconds, ends in calls:
        now += timedelta(seconds=seconds)
        hall.enter(incident, target, wants, now)
        if ends:
            hall.kept.pop(incident, None)
        alive = [slot for slot in hall.kept.values() if slot.expires_at > now and slot.held]
        assert len(hall.running(now)) <= LIMITS.at_once
        assert len({slot.target for slot in alive}) == len(alive)


_RACER = """
import asyncio, sys
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.limits import Phase, RemediationLimits

async def main():
    store = await PostgresStore.connect(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    found = await asyncio.gather(*(
        store.admit(incident, f"target-{incident}", Phase.RUNNING, RemediationLimits())
        for incident in sys.argv[2:]
    ))
    print(*(one.entry for one in found))
    await store.close()

asyncio.run(main())
"""


async def test_racing_processes_let_in_exactly_so_many(
    store: PostgresStore, migrated_database: Database
) -> None:
    incidents = [(await opened(store, f"k{n}")).id for n in range(8)]
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _RACER, migrated_database.dsn, *half, stdin=PIPE, stdout=PIPE
        )
        for half in (incidents[::2], incidents[1::2])
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    told = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    entries = b" ".join(out for out, _ in told).decode().split()
    assert (entries.count("admitted"), entries.count("wait")) == (3, 5)
    assert sum(slot.phase is RUN for slot in await store.slots()) == 3


async def test_two_incidents_racing_for_one_object(store: PostgresStore, migrated_database: Database) -> None:
    one, two = await opened(store, "one"), await opened(store, "two")
    other = await PostgresStore.connect(migrated_database.dsn)
    try:
        found = await asyncio.gather(
            store.admit(one.id, a_target().key, ASK, LIMITS),
            other.admit(two.id, a_target().key, ASK, LIMITS),
        )
    finally:
        await other.close()
    assert sorted(one.entry for one in found) == [Entry.ADMITTED, Entry.WAIT]


async def test_the_end_of_an_incident_frees_its_place_without_anybody_releasing_it(
    store: PostgresStore,
) -> None:
    one, two = await opened(store, "one"), await opened(store, "two")
    only = RemediationLimits(at_once=1)
    assert (await store.admit(one.id, "x", RUN, only)).entry is Entry.ADMITTED
    assert (await store.admit(two.id, "y", RUN, only)).entry is Entry.WAIT
    await ended(store, one)
    assert (await store.admit(two.id, "y", RUN, only)).entry is Entry.ADMITTED
    assert [slot.incident_id for slot in await store.slots()] == [two.id]


async def test_an_approved_change_waits_for_its_turn_and_is_refused_when_its_time_is_over(
    store: PostgresStore,
) -> None:
    one, two = await opened(store, "one"), await opened(store, "two")
    only = RemediationLimits(at_once=1, incident_seconds=0.5)
    assert await admitted(store, one.id, an_action("api"), only) is None
    with pytest.raises(TemporaryError, match="too_many_remediations"):
        await admitted(store, two.id, an_action("web"), only)
    await asyncio.sleep(0.6)
    late = await admitted(store, one.id, an_action("api"), only)
    assert late is not None
    assert "incident_time_exhausted" in late
