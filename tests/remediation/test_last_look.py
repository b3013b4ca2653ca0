"""Between the decision and the change the trouble may end by itself: then the change is not made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from activities.guarded import GuardedRemediation
from activities.guards import over
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.audit import AuditType
from cortexops.domain.correlation import Fate
from cortexops.domain.firing import MOST_TOLD
from cortexops.domain.incident import Reason
from cortexops.domain.limits import Phase, RemediationLimits
from cortexops.domain.partitions import Entry, Settlement
from cortexops.domain.signal import FateReason, Signal, SignalFate, SignalStatus
from tests.remediation.support import Stage
from tests.support.postgres import a_draft, a_signal, an_entry

MERGED = Fate(SignalFate.MERGED, FateReason.OPEN_INCIDENT)


async def begun(stage: Stage, *signals: Signal, limits: RemediationLimits | None = None) -> Stage:
    """The incident is one that was opened with these signals."""
    draft = a_draft("api", "run-1")
    stage.incident = (await stage.store.open_incident(draft, signals, an_entry("platform"))).id
    stage.activities = GuardedRemediation({stage.admin.name: stage.writer}, stage.store, limits)
    return stage


def end_of(signal: Signal) -> Signal:
    ended = {"status": SignalStatus.RESOLVED, "ended_at": datetime.now(UTC)}
    return signal.model_copy(update=ended).sealed()


async def heard(store: PostgresStore, *signals: Signal) -> None:
    """The books of the correlator have these now."""
    lease = (await store.share(f"T{len(signals)}@1", "me", 1, timedelta(seconds=30))).taken[0]
    entries = [Entry(one.id, MERGED, "api", one.model_dump_json()) for one in signals]
    await store.record_settlement(lease, Settlement(lease.floor, [], entries, {MERGED: len(entries)}, {}))


async def test_an_approved_change_whose_trouble_is_over_is_not_sent(simulated: Stage) -> None:
    one, two = a_signal(name="HighLatency"), a_signal(name="HighErrors")
    stage = await begun(simulated, one, two)
    await stage.deployment()
    order = await stage.order(stage.action("scale_workload", replicas=1))
    before = await stage.live()
    await heard(stage.store, end_of(one), end_of(two))
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.CHANGED, Reason.SIGNALS_RESOLVED)
    assert result.detail == "all signals have stopped firing since the change was decided on"
    assert await stage.live() == before
    assert await stage.store.rows_of(stage.incident) == []
    last = (await stage.trail())[-1]
    assert (last.type, last.reason) == (AuditType.ACTION_REFUSED, Reason.SIGNALS_RESOLVED)
    assert await stage.apply(order) == result
    assert (await stage.trail())[-1] == last  # said once


async def test_a_trouble_that_lasts_in_part_or_came_back_is_mended(simulated: Stage) -> None:
    one, two = a_signal(name="HighLatency"), a_signal(name="HighErrors")
    stage = await begun(simulated, one, two)
    again = one.model_copy(update={"started_at": one.started_at + timedelta(minutes=5)}).sealed()
    await heard(stage.store, end_of(one), again, end_of(two))
    await stage.deployment()
    order = await stage.order(stage.action("scale_workload", replicas=1))
    assert (await stage.apply(order)).outcome is ApplyOutcome.APPLIED


async def test_whoever_waits_for_its_turn_goes_when_its_trouble_is_over(simulated: Stage) -> None:
    only = RemediationLimits(at_once=1)
    signal = a_signal()
    stage = await begun(simulated, signal, limits=only)
    await stage.deployment()
    order = await stage.order(stage.action("scale_workload", replicas=1))
    other = await stage.store.open_incident(a_draft("other", "run-2"), [], an_entry("platform"))
    await stage.store.admit(other.id, "elsewhere", Phase.RUNNING, only)
    await heard(stage.store, end_of(signal))
    assert (await stage.apply(order)).reason is Reason.SIGNALS_RESOLVED
    assert [slot.incident_id for slot in await stage.store.slots()] == [other.id]


async def test_what_was_begun_is_finished_though_the_trouble_is_over(simulated: Stage) -> None:
    signal = a_signal()
    stage = await begun(simulated, signal)
    await stage.deployment()
    order = await stage.order(stage.action("scale_workload", replicas=1))
    first = await stage.apply(order)
    await heard(stage.store, end_of(signal))
    assert await stage.apply(order) == first


async def test_of_a_storm_that_the_books_do_not_know_whole_nothing_is_concluded(store: PostgresStore) -> None:
    storm = [a_signal(name=f"alert-{number}") for number in range(MOST_TOLD)]
    for known, verdict in ((storm[1:], True), (storm, False)):
        incident = await store.open_incident(a_draft("api", f"run-{verdict}"), known, an_entry("platform"))
        await heard(store, *map(end_of, known))
        assert (await over(store, incident.id) is not None) is verdict


async def test_an_incident_without_known_signals_is_not_over(store: PostgresStore) -> None:
    incident = await store.open_incident(a_draft("api", "run-1"), [], an_entry("platform"))
    assert await over(store, incident.id) is None
