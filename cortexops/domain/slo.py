"""Service level of incident response: how many incidents end well in time.

An incident is good when it ended RESOLVED or CONTAINED within the limit. Drills do not count, nor
what was part of another incident or ended while it was silenced. The burn
rate is the share of bad incidents in a window over the share that the target allows: 1 spends the budget
exactly, 14.4 over one hour spends a month's budget in two days (seed 000 alerts above it).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.resource import Frozen

WINDOWS = {"1h": timedelta(hours=1), "6h": timedelta(hours=6), "24h": timedelta(hours=24)}
PERIOD = timedelta(days=30)
_NOT_COUNTED = (IncidentState.MERGED, IncidentState.SUPPRESSED)
_GOOD = (IncidentState.RESOLVED, IncidentState.CONTAINED)


class ServiceLevel(Frozen):
    """`compliance` in percent, `budget_remaining` from 0 (spent, or overspent) to 1, burn rate by window."""

    compliance: float
    budget_remaining: float
    burn_rate: dict[str, float]


def service_level(
    incidents: list[Incident], *, now: datetime, target: float, limit: timedelta
) -> ServiceLevel:
    """The level over the last thirty days. `target` is the share of good incidents that is promised (0–1)."""
    counted = [
        incident
        for incident in incidents
        if not incident.drill
        and incident.state not in _NOT_COUNTED
        and incident.ended_at is not None
        and incident.ended_at > now - PERIOD
    ]
    bad = [incident for incident in counted if not _good(incident, limit)]
    allowed = (1 - target) * len(counted)
    rates = {}
    for name, window in WINDOWS.items():
        recent = [i for i in counted if i.ended_at is not None and i.ended_at > now - window]
        missed = sum(not _good(i, limit) for i in recent)
        rates[name] = missed / len(recent) / (1 - target) if recent else 0.0
    return ServiceLevel(
        compliance=100.0 * (len(counted) - len(bad)) / len(counted) if counted else 100.0,
        budget_remaining=max(0.0, 1 - len(bad) / allowed) if counted else 1.0,
        burn_rate=rates,
    )


def _good(incident: Incident, limit: timedelta) -> bool:
    lasted = (incident.ended_at or incident.updated_at) - incident.detected_at
    return incident.state in _GOOD and lasted <= limit
