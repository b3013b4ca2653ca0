"""What holds for every source: one identity for a firing and its end, and never one for two clusters."""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.signal import SignalStatus
from ingest.decode import autodetect
from ingest.labels import firing_times, series
from ingest.source import SKEW, SKEW_LABEL, epoch_time, fingerprint_from
from ingest.sources import SOURCES
from tests.unit.sources.payloads import FIRING, NOW, RESOLVED, alertmanager, one, pagerduty, parse
from workflows.signals import SignalLog

SOURCES_DOCUMENT = (Path(__file__).resolve().parents[3] / "docs/sources.md").read_text("utf-8")


@pytest.mark.parametrize("source", sorted(FIRING))
def test_a_real_payload_becomes_a_signal_of_its_source(source: str) -> None:
    signal = one(source, FIRING[source]())
    assert signal.source == ("prober" if source == "signals" else source)
    assert signal.status is SignalStatus.FIRING
    assert signal.started_at == NOW.replace(minute=0, microsecond=signal.started_at.microsecond)
    assert signal.received_at == NOW
    assert signal.summary
    assert signal == signal.sealed()


@pytest.mark.parametrize("source", sorted(FIRING))
def test_the_end_of_an_alert_has_the_fingerprint_of_its_firing(source: str) -> None:
    firing, resolved = one(source, FIRING[source]()), one(source, RESOLVED[source]())
    assert resolved.status is SignalStatus.RESOLVED
    assert resolved.fingerprint == firing.fingerprint
    assert resolved.resource == firing.resource
    assert resolved.id != firing.id
    assert resolved.started_at >= firing.started_at
    assert resolved.ended_at is not None
    assert resolved.ended_at > firing.started_at


def test_an_incident_that_was_reopened_and_resolved_again_is_over() -> None:
    log = SignalLog()
    for minute, kind in enumerate(("triggered", "resolved", "reopened", "resolved")):
        payload = pagerduty(f"incident.{kind}")
        payload["event"]["occurred_at"] = f"2026-03-01T12:0{minute}:05Z"
        log.add([one("pagerduty", payload)])
        assert log.all_resolved is (kind == "resolved")
    assert len(log) == 1


@pytest.mark.parametrize("source", sorted(FIRING))
def test_a_payload_that_comes_twice_has_the_same_ids(source: str) -> None:
    first = one(source, FIRING[source]())
    later = one(source, FIRING[source](), now=NOW + timedelta(minutes=3))
    assert (first.id, first.fingerprint) == (later.id, later.fingerprint)


@pytest.mark.parametrize("source", sorted(FIRING))
def test_two_clusters_never_share_a_fingerprint(source: str) -> None:
    payload = _without_cluster(FIRING[source]())
    there, here = one(source, payload, cluster="eu-1"), one(source, payload, cluster="us-1")
    assert (there.cluster, here.cluster) == ("eu-1", "us-1")
    assert there.resource.cluster == "eu-1"
    assert there.fingerprint != here.fingerprint
    assert there.id != here.id


def _without_cluster(payload: Any) -> Any:
    """The payload as a sender with one cluster sends it."""
    if isinstance(payload, dict):
        kept = {key: _without_cluster(value) for key, value in payload.items() if key != "cluster"}
        return kept
    if isinstance(payload, list):
        return [
            _without_cluster(item)
            for item in payload
            if item != "cluster:eu-1" and not (isinstance(item, dict) and item.get("name") == "ClusterName")
        ]
    if isinstance(payload, str):
        payload = payload.replace("kube_cluster_name:eu-1,", "")
        return payload.replace('{"value": "eu-1", "name": "ClusterName"}, ', "")
    return payload


@pytest.mark.parametrize("source", ["alertmanager", "grafana", "pagerduty", "datadog", "opsgenie"])
def test_the_cluster_that_a_payload_names_beats_the_callers(source: str) -> None:
    payload = copy.deepcopy(FIRING[source]())
    if source in ("alertmanager", "grafana"):
        payload["alerts"][0]["labels"]["cluster"] = "eu-1"
    elif source == "pagerduty":
        payload["event"]["data"]["custom_details"]["cluster"] = "eu-1"
    assert one(source, payload, cluster="us-1").cluster == "eu-1"


@pytest.mark.parametrize("source", sorted(FIRING))
def test_every_source_recognises_its_own_payloads_and_no_other_does(source: str) -> None:
    assert autodetect(FIRING[source]()) == source
    assert autodetect(RESOLVED[source]()) == source


@pytest.mark.parametrize("source", SOURCES.kinds)
def test_the_manual_says_what_fingerprints_are_made_of(source: str) -> None:
    (section,) = re.findall(rf"^## {source}$\n(.*?)(?=^## |\Z)", SOURCES_DOCUMENT, re.MULTILINE | re.DOTALL)
    (said,) = re.findall(r"^Fingerprint: (.+?)\.$", section, re.MULTILINE | re.DOTALL)
    listed = tuple(part.strip("`") for part in re.split(r";\s+", " ".join(said.split())))
    assert listed == fingerprint_from(SOURCES[source])


@pytest.mark.parametrize("source", SOURCES.kinds)
def test_no_fingerprint_is_made_of_prose_or_time(source: str) -> None:
    said = " ".join(fingerprint_from(SOURCES[source]))
    assert said
    assert not re.search(r"title|summary|message|description|time|date|_at\b|At\b", said)


def test_long_and_strange_series_keys_become_short_ones_that_stay_apart() -> None:
    found = {series("opsgenie", "eu-1", key) for key in ("a", "a b", "a\x1fb", "x" * 500, "x" * 501, "é")}
    assert len(found) == 6
    assert all(len(key) <= 64 and key.isprintable() and key.startswith("opsgenie:") for key in found)
    assert series("opsgenie", "eu-1", "a") == "opsgenie:eu-1:a"


# -- times ---------------------------------------------------------------------------------------------


def test_a_start_hours_ahead_is_the_time_of_receipt_and_says_so() -> None:
    payload = alertmanager()
    payload["alerts"][0]["startsAt"] = "2026-03-01T15:10:00Z"
    signal = one("alertmanager", payload)
    assert signal.started_at == NOW
    assert signal.labels[SKEW_LABEL] == "10800"


def test_a_start_a_little_ahead_stays_as_it_is() -> None:
    payload = alertmanager()
    payload["alerts"][0]["startsAt"] = (NOW + SKEW).isoformat()
    signal = one("alertmanager", payload)
    assert signal.started_at == NOW + SKEW
    assert SKEW_LABEL not in signal.labels


@pytest.mark.parametrize("ends", ["2026-03-01T11:00:00Z", "0001-01-01T00:00:00Z", "2027-01-01T00:00:00Z"])
def test_an_end_that_contradicts_the_start_or_the_clock_still_ends_the_alert(ends: str) -> None:
    payload = alertmanager("resolved")
    payload["alerts"][0]["endsAt"] = ends
    signal = one("alertmanager", payload)
    assert signal.status is SignalStatus.RESOLVED
    assert signal.ended_at is None or signal.started_at <= signal.ended_at <= NOW


@given(
    started=st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1)),
    ended=st.none() | st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1)),
)
def test_times_are_possible_ones_whatever_the_sender_claims(
    started: datetime, ended: datetime | None
) -> None:
    began, over, skew = firing_times(
        started.replace(tzinfo=UTC), None if ended is None else ended.replace(tzinfo=UTC), NOW
    )
    assert began <= NOW + SKEW
    assert over is None or began <= over <= max(NOW, began)
    assert (skew > 0) is (started.replace(tzinfo=UTC) > NOW + SKEW)


@pytest.mark.parametrize(
    "value", [1772366400, 1772366400.0, 1772366400000, "1772366400000", 1772366400000000, 1772366400000000000]
)
def test_unix_times_are_told_apart_by_their_size(value: Any) -> None:
    assert epoch_time(value, "date") == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_two_alerts_of_one_series_in_a_body_are_two_signals_of_it() -> None:
    payload = alertmanager()
    payload["alerts"].append(payload["alerts"][0] | {"startsAt": "2026-03-01T12:01:00Z"})
    first, second = parse("alertmanager", payload).signals
    assert first.fingerprint == second.fingerprint
    assert first.id != second.id
