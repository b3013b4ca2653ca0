"""The storms that the benchmarks and drills are fed with are what they declare to be."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.alertmanager import GROUP_BY
from benchmarks.load import BEGAN, Storm, storm
from cortexops.domain.correlation import key_of
from cortexops.domain.owners import guess_workload
from cortexops.domain.signal import Signal
from ingest.decode import parse_documents

seeds = st.integers(0, 10_000)
causes = st.integers(1, 12)
extra = st.integers(0, 150)


def _signals(load: Storm) -> list[Signal]:
    documents = [json.loads(body) for body in load.webhooks()]
    parsed = parse_documents(documents, "alertmanager", cluster="bench", now=datetime(2026, 2, 1, tzinfo=UTC))
    assert not parsed.rejected
    return parsed.signals


@given(seeds, causes, extra)
def test_the_same_seed_gives_the_same_storm(seed: int, count: int, more: int) -> None:
    first, second = (storm(count + more, count, seed) for _ in range(2))
    assert first.webhooks() == second.webhooks()
    assert first.causes == second.causes


def test_another_seed_gives_another_storm() -> None:
    assert storm(50, 5, 1).webhooks() != storm(50, 5, 2).webhooks()


@given(seeds, causes, extra)
def test_every_cause_fires_and_there_are_as_many_alerts_as_asked_for(
    seed: int, count: int, more: int
) -> None:
    load = storm(count + more, count, seed)
    assert len(load.alerts) == count + more
    assert len(load.causes) == len(load.workloads) == count
    assert {alert.cause for alert in load.alerts if alert.ends_at is None} == set(range(count))
    assert [alert.at for alert in load.alerts] == sorted(alert.at for alert in load.alerts)


@given(seeds, causes, extra)
def test_the_product_sees_the_declared_incidents_and_the_declared_distinct_signals(
    seed: int, count: int, more: int
) -> None:
    load = storm(count + more, count, seed)
    signals = _signals(load)
    assert {key_of(guess_workload(s.resource, s.labels)) for s in signals} == {w.key for w in load.workloads}
    assert len({signal.id for signal in signals}) == load.distinct


@given(seeds, causes, extra)
def test_alertmanager_groups_by_the_same_causes(seed: int, count: int, more: int) -> None:
    load = storm(count + more, count, seed)
    groups = {tuple(alert.labels[name] for name in GROUP_BY) for alert in load.alerts}
    assert len(groups) == count


@given(seeds, st.integers(1, 5), extra)
def test_a_node_that_fails_takes_its_workloads_with_it(seed: int, nodes: int, more: int) -> None:
    load = storm(nodes + 2 + more, nodes + 2, seed, nodes=nodes)
    assert sum(1 for cause in load.causes if cause.node) == nodes
    for cause in load.causes[:nodes]:
        told = [alert for alert in load.alerts if alert.cause == cause.number]
        assert any(alert.labels["alertname"] == "KubeNodeNotReady" for alert in told)
        assert min(told, key=lambda alert: alert.starts_at).labels["node"] == cause.node


def test_a_storm_has_repeats_ends_late_arrivals_and_a_heavy_tail() -> None:
    load = storm(5000, 100, 3)
    assert 0.85 < load.distinct / len(load.alerts) < 0.97
    assert 0.02 < sum(1 for alert in load.alerts if alert.ends_at) / len(load.alerts) < 0.08
    assert all(12 <= len(alert.labels) <= 25 for alert in load.alerts)
    starts = [alert.starts_at for alert in load.alerts]
    assert starts != sorted(starts)
    counts = sorted((sum(1 for a in load.alerts if a.cause == c.number) for c in load.causes), reverse=True)
    assert sum(counts[:20]) > 0.5 * len(load.alerts)


def test_a_faster_storm_tells_the_same_in_less_time() -> None:
    slow, fast = storm(500, 10, 4), storm(500, 10, 4, speed=50)
    assert fast.distinct == slow.distinct
    assert fast.alerts[-1].at == pytest.approx(slow.alerts[-1].at / 50)
    assert max(alert.starts_at for alert in fast.alerts) < max(alert.starts_at for alert in slow.alerts)
    assert min(alert.starts_at for alert in fast.alerts) >= BEGAN


def test_weights_say_how_the_alerts_spread() -> None:
    load = storm(2000, 6, 5, weights=[100, 1, 1, 1, 1, 1])
    assert sum(1 for alert in load.alerts if alert.cause == 0) > 1800
    assert len({alert.cause for alert in load.alerts}) == 6


def test_a_storm_with_fewer_alerts_than_causes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one alert a cause"):
        storm(3, 4, 1)
