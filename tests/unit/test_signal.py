"""Signals: identity, severity, decoding."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import (
    Severity,
    Signal,
    SignalStatus,
    SignalType,
    parse_signal,
    sealed_signal,
    severity_from_word,
    signal_type,
)
from tests.ingest.support import START, signal


def test_the_same_report_has_the_same_id_whoever_received_it_and_whenever() -> None:
    first = signal(received_at=START)
    again = signal(received_at=START + timedelta(hours=3), summary="worded otherwise")
    assert first.id == again.id
    assert len(first.id) == 32


def test_the_time_zone_of_a_start_is_no_part_of_the_id() -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=9)))
    assert signal(started_at=elsewhere).id == signal().id


def test_another_firing_has_another_id_and_the_same_fingerprint() -> None:
    first, later = signal(), signal(started_at=START + timedelta(minutes=1))
    assert first.id != later.id
    assert first.fingerprint == later.fingerprint


def test_firing_and_resolved_are_two_signals_of_one_series() -> None:
    firing, resolved = signal(), signal(status=SignalStatus.RESOLVED)
    assert firing.id != resolved.id
    assert firing.fingerprint == resolved.fingerprint


def test_clusters_do_not_share_ids() -> None:
    assert signal(cluster="a").id != signal(cluster="b").id


def test_a_claimed_id_is_replaced() -> None:
    assert signal().model_copy(update={"id": "mine"}).sealed().id == signal().id


def test_a_sealed_signal_survives_the_wire() -> None:
    original = signal(labels={"container": "app"})
    assert parse_signal(original.model_dump_json()) == original


def sealed(**changes: Any) -> Signal:
    fields: dict[str, Any] = {
        "source": "test",
        "name": "PodDown",
        "resource": ResourceRef(cluster="c", kind="Pod", namespace="shop", name="api-1"),
        "status": SignalStatus.FIRING,
        "labels": {"container": "app"},
        "started_at": START,
    }
    return sealed_signal(**{**fields, **changes})


@pytest.mark.parametrize("changes", [{}, {"summary": "down", "ended_at": START, "drill": True}])
def test_a_signal_built_without_the_model_is_the_one_that_the_model_makes(changes: dict[str, Any]) -> None:
    built = sealed(**changes)
    assert built == Signal.model_validate(built.model_dump(by_alias=True))
    assert built.model_fields_set == set(Signal.model_fields)
    assert parse_signal(built.model_dump_json()) == built
    assert built.sealed() == built.model_copy()
    assert hash(built.resource) == hash(built.model_copy(update={"name": "Other"}).resource)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 254},
        {"summary": "x" * 2001},
        {"source": "With Capitals"},
        {"source": "line\n"},
        {"resource": ResourceRef(cluster="c d", kind="Pod", namespace="shop", name="api-1")},
        {"started_at": START.replace(tzinfo=None)},
        {"ended_at": START.replace(tzinfo=None)},
    ],
)
def test_what_the_model_would_refuse_is_not_built(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        sealed(**changes)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ("{", "body"),
        ("[]", "body"),
        ('{"schema": "cortexops.signal/v2"}', "schema"),
        (signal().model_dump_json().replace("test", "te st", 1), "cluster"),
        (signal().model_dump_json().replace("2026-03-01T12:00:00Z", "2026-03-01T12:00:00"), "started_at"),
        (signal().model_dump_json().replace('"drill"', '"extra"'), "extra"),
    ],
)
def test_a_bad_document_is_refused_by_field(raw: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_signal(raw)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("KubeContainerOOMKilled", SignalType.OOM_KILL),
        ("KubePodCrashLooping", SignalType.CRASH_LOOP),
        ("KubeNodeNotReady", SignalType.NODE_NOT_READY),
        ("KubeDeploymentReplicasMismatch", SignalType.REPLICAS_MISSING),
        ("Http5xxRateHigh", SignalType.ERROR_RATE),
        ("Watchdog", SignalType.OTHER),
    ],
)
def test_names_hint_at_types(name: str, kind: SignalType) -> None:
    assert signal_type(name) is kind


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("page", Severity.CRITICAL),
        (" Warning ", Severity.MEDIUM),
        ("info", Severity.LOW),
        ("?", Severity.MEDIUM),
    ],
)
def test_words_of_the_field_are_understood(word: str, severity: Severity) -> None:
    assert severity_from_word(word) is severity
