"""Grouping decisions, and that neither order nor repetition of signals changes the incidents."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.correlation import (
    EndedIncident,
    Fate,
    decide_group,
    fates_after_delivery,
    fold,
    is_heard,
    key_of,
    risk_score,
    severity_of,
    title_of,
)
from cortexops.domain.firing import all_resolved
from cortexops.domain.incident import IncidentState
from cortexops.domain.signal import FateReason, Severity, Signal, SignalFate, SignalStatus
from tests.ingest.support import START, signal

NOW = START + timedelta(minutes=5)
RESOLVED = SignalStatus.RESOLVED


def decide(
    signals: list[Signal],
    *,
    opened: datetime | None = None,
    ended: EndedIncident | None = None,
    known: dict[str, datetime] | None = None,
    now: datetime = NOW,
) -> list[Fate]:
    decision = decide_group(signals, opened=opened, ended=ended, known=known or {}, now=now)
    return [decision.fates[one.id] for one in signals]


def ended(state: IncidentState, minutes_ago: float) -> EndedIncident:
    return EndedIncident("INC-20260301-001", state, NOW - timedelta(minutes=minutes_ago))


def test_the_first_signal_starts_and_the_others_join() -> None:
    assert decide([signal("A"), signal("B")]) == [
        (SignalFate.STARTED, FateReason.NEW_INCIDENT),
        (SignalFate.MERGED, FateReason.SAME_WINDOW),
    ]


def test_signals_of_an_open_incident_join_it() -> None:
    assert decide([signal()], opened=START) == [(SignalFate.MERGED, FateReason.OPEN_INCIDENT)]


def test_a_resolution_of_nothing_is_suppressed() -> None:
    assert decide([signal(status=RESOLVED)]) == [(SignalFate.SUPPRESSED, FateReason.RESOLVED_UNKNOWN)]


def test_an_alert_that_fires_and_resolves_in_one_window_is_one_incident_in_either_order() -> None:
    firing, resolved = signal(), signal(status=RESOLVED)
    for group in ([firing, resolved], [resolved, firing]):
        fates = dict(zip([one.status for one in group], decide(group), strict=True))
        assert fates[SignalStatus.FIRING].fate is SignalFate.STARTED
        assert fates[RESOLVED] == (SignalFate.MERGED, FateReason.SAME_WINDOW)


def test_after_a_resolution_the_key_is_quiet_for_ten_minutes_and_no_longer() -> None:
    recent, past = ended(IncidentState.RESOLVED, 9.9), ended(IncidentState.RESOLVED, 10)
    assert decide([signal()], ended=recent) == [(SignalFate.SUPPRESSED, FateReason.COOLDOWN)]
    assert decide([signal()], ended=past)[0].fate is SignalFate.STARTED


def test_after_any_other_end_signals_count_with_the_incident_that_people_have_for_as_long() -> None:
    for state in (IncidentState.ESCALATED, IncidentState.DENIED, IncidentState.EXPIRED):
        assert decide([signal()], ended=ended(state, 9.9)) == [(SignalFate.MERGED, FateReason.HANDED_OVER)]
        assert decide([signal()], ended=ended(state, 10))[0].fate is SignalFate.STARTED
    group = decide_group([signal()], opened=None, ended=ended(IncidentState.DENIED, 1), known={}, now=NOW)
    assert not group.deliver
    assert not any(is_heard(fate) for fate in group.fates.values())


def test_an_incident_that_called_nobody_gives_no_rest() -> None:
    for state in (IncidentState.MERGED, IncidentState.SUPPRESSED):
        assert decide([signal("OOMKilled")], ended=ended(state, 2))[0].fate is SignalFate.STARTED


def test_a_redelivered_signal_is_a_duplicate() -> None:
    one = signal()
    assert decide([one], known={one.id: NOW}) == [(SignalFate.MERGED, FateReason.DUPLICATE)]


def test_an_alert_that_still_fires_long_after_its_incident_ended_opens_a_new_one() -> None:
    one = signal()
    known = {one.id: NOW - timedelta(hours=4)}
    assert decide([one], known=known, ended=ended(IncidentState.ESCALATED, 60))[0].fate is SignalFate.STARTED


def test_an_incident_hears_of_what_was_recorded_only_before_it_was_opened() -> None:
    one, opened = signal(), NOW - timedelta(minutes=1)
    joined = [(SignalFate.MERGED, FateReason.OPEN_INCIDENT)]
    for before in (timedelta(days=1), timedelta(minutes=1)):
        assert decide([one], opened=opened, known={one.id: opened - before}) == joined
    for after in (timedelta(0), timedelta(seconds=30)):
        assert decide([one], opened=opened, known={one.id: opened + after})[0].reason is FateReason.DUPLICATE


def test_a_repeat_is_a_duplicate_for_as_long_as_the_incident_that_heard_of_it_is_open() -> None:
    one, opened = signal(), NOW - timedelta(days=3)
    known = {one.id: opened + timedelta(minutes=1)}
    assert decide([one], opened=opened, known=known) == [(SignalFate.MERGED, FateReason.DUPLICATE)]


def test_a_group_of_duplicates_is_not_delivered() -> None:
    one = signal()
    assert not decide_group([one], opened=START, ended=None, known={one.id: NOW}, now=NOW).deliver


def test_temporal_has_the_last_word_on_what_started() -> None:
    first, second = signal("A"), signal("B")
    group = decide_group([first, second], opened=None, ended=None, known={}, now=NOW)
    joined = fates_after_delivery(group.fates, started=False)
    assert set(joined.values()) == {(SignalFate.MERGED, FateReason.OPEN_INCIDENT)}
    open_ = decide_group([first, second], opened=START, ended=None, known={}, now=NOW)
    began = fates_after_delivery(open_.fates, started=True)
    assert [fate.fate for fate in began.values()] == [SignalFate.STARTED, SignalFate.MERGED]


def test_risk_grows_with_severity_type_production_and_series_and_ends_at_100() -> None:
    oom = signal("ContainerOOMKilled", severity=Severity.HIGH)
    memory = signal("MemoryHigh", severity=Severity.MEDIUM)
    assert risk_score([oom, memory], "staging") == 65
    assert risk_score([oom, memory], "production") == 70
    many = [signal(f"OOM{n}", severity=Severity.CRITICAL) for n in range(9)]
    assert risk_score(many, "production") == 100
    assert risk_score([signal(status=RESOLVED)]) == 0


def test_the_title_names_the_most_telling_signal_and_the_object() -> None:
    signals = [signal("SomethingOdd", severity=Severity.CRITICAL), signal("ContainerOOMKilled")]
    assert title_of(signals, signals[0].resource) == "OOM kill on Deployment shop/api"
    assert severity_of(signals) is Severity.CRITICAL


def test_a_storm_is_folded_to_distinct_series_the_worst_first() -> None:
    storm = [
        signal(f"Alert{n % 300}", started_at=START + timedelta(seconds=n), severity=Severity.LOW)
        for n in range(3000)
    ]
    worst = signal("Worst", severity=Severity.CRITICAL)
    folded = fold([*storm, worst], 200)
    assert len(folded) == 200
    assert len({one.fingerprint for one in folded}) == 200
    assert worst in folded


def test_folding_keeps_the_news_that_a_kept_series_has_ended() -> None:
    firing = [signal(f"Alert{n}") for n in range(300)]
    resolved = [signal(f"Alert{n}", status=RESOLVED) for n in range(300)]
    folded = fold([*firing, *resolved], 200)
    series = {one.fingerprint for one in folded if one.status is SignalStatus.FIRING}
    assert {one.fingerprint for one in folded if one.status is RESOLVED} == series


_SERIES = [
    signal(name, status=status, started_at=START + timedelta(seconds=second), severity=severity)
    for name, severity in (("A", Severity.LOW), ("B", Severity.CRITICAL), ("C", Severity.MEDIUM))
    for status in SignalStatus
    for second in range(3)
]


@given(st.lists(st.sampled_from(_SERIES), max_size=12), st.integers(1, 4))
def test_folding_never_changes_whether_all_is_over(signals: list[Signal], most: int) -> None:
    assert all_resolved(fold(signals, most)) is all_resolved(signals)


def test_folding_keeps_the_firing_that_came_after_an_end() -> None:
    later = START + timedelta(minutes=1)
    first, over = signal("A"), signal("A", status=RESOLVED)
    again = signal("A", started_at=later)
    others = [signal(f"Alert{n}", status=status) for n in range(31) for status in SignalStatus]
    folded = fold([first, over, again, *others])
    assert again in folded
    assert first not in folded
    assert not all_resolved(folded)


# -- whatever the order -----------------------------------------------------------------------------

_POOL = [signal(name, object_name=obj) for obj in ("api", "web", "db") for name in ("OOMKilled", "Latency")]


class World:
    """Batches in, incidents out; incidents stay open, as they do for as long as a storm lasts."""

    def __init__(self) -> None:
        self.open: dict[str, datetime] = {}
        self.known: dict[str, datetime] = {}
        self.started: list[str] = []
        self.fates: list[Fate] = []
        self.heard: set[str] = set()

    def batch(self, signals: list[Signal]) -> None:
        groups: dict[str, list[Signal]] = {}
        for one in signals:
            groups.setdefault(key_of(one.resource), []).append(one)
        for key, group in groups.items():
            decision = decide_group(group, opened=self.open.get(key), ended=None, known=self.known, now=NOW)
            for id_, fate in decision.fates.items():
                if fate.fate is SignalFate.STARTED:
                    self.started.append(key)
                    self.open[key] = NOW
                if fate.reason is not FateReason.DUPLICATE:
                    self.heard.add(id_)
                self.known[id_] = NOW
                self.fates.append(fate)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Signal], list[list[Signal]]]:
    """A set of signals, and one way for it to come: permuted, repeated, cut into batches."""
    chosen = draw(st.lists(st.sampled_from(_POOL), min_size=1, unique_by=lambda one: one.id))
    repeated = chosen + draw(st.lists(st.sampled_from(chosen), max_size=8))
    order = draw(st.permutations(repeated))
    cuts: list[bool] = draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    batches: list[list[Signal]] = [[]]
    for one, cut in zip(order, cuts, strict=True):
        if batches[-1] and cut:
            batches.append([])
        batches[-1].append(one)
    return chosen, batches


@given(arrivals())
def test_no_order_repetition_or_batching_changes_the_incidents(
    case: tuple[list[Signal], list[list[Signal]]],
) -> None:
    chosen, batches = case
    world = World()
    for batch in batches:
        world.batch(batch)
    assert sorted(world.started) == sorted({key_of(one.resource) for one in chosen})
    assert world.heard == {one.id for one in chosen}


@given(arrivals(), st.integers(0, 3))
def test_redelivery_of_any_batch_starts_nothing_again(
    case: tuple[list[Signal], list[list[Signal]]], which: int
) -> None:
    _, batches = case
    world = World()
    for batch in batches:
        world.batch(batch)
    before = sorted(world.started)
    world.batch(batches[which % len(batches)])
    assert sorted(world.started) == before
