"""The service level: what counts as good, and what the gauges say of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity
from cortexops.domain.slo import service_level

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LIMIT = timedelta(minutes=60)


def an_incident(
    state: IncidentState = IncidentState.RESOLVED,
    *,
    minutes: float = 5,
    ago: timedelta = timedelta(minutes=10),
    drill: bool = False,
) -> Incident:
    ended = NOW - ago
    return Incident(
        id="INC-20260301-001",
        key="k",
        title="t",
        severity=Severity.HIGH,
        risk_score=50,
        resource=ResourceRef(cluster="c", kind="Deployment", namespace="n", name="d"),
        state=state,
        reason=Reason.VERIFIED,
        detected_at=ended - timedelta(minutes=minutes),
        updated_at=ended,
        ended_at=ended,
        drill=drill,
    )


def test_without_incidents_nothing_is_spent() -> None:
    level = service_level([], now=NOW, target=0.95, limit=LIMIT)
    assert (level.compliance, level.budget_remaining, level.burn_rate["1h"]) == (100.0, 1.0, 0.0)


def test_slow_or_unresolved_incidents_are_bad_and_drills_do_not_count() -> None:
    incidents = [
        *[an_incident() for _ in range(17)],
        an_incident(minutes=61),
        an_incident(IncidentState.ESCALATED),
        an_incident(IncidentState.CONTAINED),
        an_incident(IncidentState.ESCALATED, drill=True),
    ]
    level = service_level(incidents, now=NOW, target=0.8, limit=LIMIT)
    assert level.compliance == pytest.approx(90.0)
    assert level.budget_remaining == pytest.approx(0.5)
    assert level.burn_rate["1h"] == pytest.approx(0.5)


def test_an_old_failure_leaves_the_short_window_but_not_the_month() -> None:
    incidents = [an_incident(), an_incident(IncidentState.DENIED, ago=timedelta(hours=3))]
    level = service_level(incidents, now=NOW, target=0.5, limit=LIMIT)
    assert level.burn_rate["1h"] == 0.0
    assert level.burn_rate["6h"] == pytest.approx(1.0)
    assert level.compliance == pytest.approx(50.0)


def test_an_overspent_budget_is_zero_not_negative() -> None:
    level = service_level([an_incident(IncidentState.EXPIRED)], now=NOW, target=0.99, limit=LIMIT)
    assert level.budget_remaining == 0.0
