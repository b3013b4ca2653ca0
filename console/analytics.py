"""Figures over incidents: how many, where, and how long until they were over. Drills never count."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import fmean, median
from typing import Any

from cortexops.domain.errors import InvalidInput
from cortexops.domain.incident import Incident, IncidentState
from cortexops.ports.store import IncidentStore

_PAGE = 500
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=366)
_NOT_COUNTED = (IncidentState.SUPPRESSED, IncidentState.MERGED)
_AUTOMATIC = (IncidentState.RESOLVED, IncidentState.CONTAINED)


def parse_window(text: str) -> timedelta:
    """`24h`, `7d`, `4w`. Raises `InvalidInput`."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    window = int(match[1]) * _UNITS[match[2]] if match else None
    if window is None or window > _LONGEST:
        raise InvalidInput("window", "must be a number with h, d or w, for example 7d; 366d at most")
    return window


async def incidents_since(store: IncidentStore, start: datetime) -> list[Incident]:
    """Incidents detected since then that count: no drills, none merged or suppressed. Newest first."""
    found: dict[str, Incident] = {}
    before: datetime | None = None
    while True:
        page = await store.incidents(most=_PAGE, before=before)
        fresh = [incident for incident in page if incident.id not in found]
        found.update((incident.id, incident) for incident in fresh)
        if not fresh or len(page) < _PAGE or page[-1].detected_at < start:
            break
        # Incidents of the very same microsecond may stand on both sides of the page's edge.
        before = page[-1].detected_at + timedelta(microseconds=1)
    return [
        incident
        for incident in found.values()
        if incident.detected_at >= start and not incident.drill and incident.state not in _NOT_COUNTED
    ]


def summary(incidents: Sequence[Incident]) -> dict[str, Any]:
    """Counts by state and severity, and how many ended well without a person's hands."""
    ended = [incident for incident in incidents if incident.state.final]
    mended = [i for i in ended if i.state in _AUTOMATIC and i.attempts > 0]
    return {
        "incidents": len(incidents),
        "open": len(incidents) - len(ended),
        "ended": len(ended),
        "auto_resolved": len(mended),
        "auto_resolved_share": round(len(mended) / len(ended), 3) if ended else None,
        "by_state": dict(sorted(Counter(str(i.state) for i in incidents).items())),
        "by_severity": dict(sorted(Counter(str(i.severity) for i in incidents).items())),
        "llm_used": sum(i.llm_used for i in incidents),
        "mttr_seconds": mttr(incidents)["mean_seconds"],
    }


def top_resources(incidents: Sequence[Incident], most: int = 10) -> list[dict[str, Any]]:
    """The objects with the most incidents, with the time that these took altogether."""
    counts = Counter(incident.resource.key for incident in incidents)
    rows = []
    for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]:
        own = [incident for incident in incidents if incident.resource.key == key]
        rows.append(
            {
                "resource": own[0].resource.model_dump(),
                "incidents": count,
                "seconds": round(sum(_lasted(i) for i in own if i.ended_at), 3),
                "worst_severity": max((i.severity for i in own), key=lambda s: s.rank),
                "last_incident": max(own, key=lambda i: i.detected_at).id,
            }
        )
    return rows


def mttr(incidents: Sequence[Incident]) -> dict[str, Any]:
    """Seconds from detection to RESOLVED. Contained, undone or escalated is not resolved."""
    resolved = [i for i in incidents if i.state is IncidentState.RESOLVED and i.ended_at]
    by_severity: dict[str, list[float]] = {}
    for incident in resolved:
        by_severity.setdefault(incident.severity, []).append(_lasted(incident))
    return {
        **_figures([_lasted(incident) for incident in resolved]),
        "by_severity": {severity: _figures(values) for severity, values in sorted(by_severity.items())},
    }


def _lasted(incident: Incident) -> float:
    return incident.age(incident.ended_at or incident.updated_at)


def _figures(seconds: list[float]) -> dict[str, Any]:
    """`None` where nothing was resolved: no data is not a zero."""
    if not seconds:
        return {"resolved": 0, "mean_seconds": None, "median_seconds": None, "p90_seconds": None}
    ordered = sorted(seconds)
    return {
        "resolved": len(ordered),
        "mean_seconds": round(fmean(ordered), 3),
        "median_seconds": round(median(ordered), 3),
        "p90_seconds": round(ordered[-(-len(ordered) * 9 // 10) - 1], 3),
    }
