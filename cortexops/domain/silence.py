"""Silences and maintenance windows: they hold automation and notices, and hide nothing.

An incident that a silence covers is opened, counted and shown as held. It is looked at again when the
silence ends or is lifted: what still fires then goes its way, what has ended meanwhile is closed quietly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, Field

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import Frozen, ResourceRef

LONGEST = timedelta(days=7)
"""No silence lasts longer: one that is forgotten must not hide a month."""
_LONGEST_WINDOW = timedelta(hours=24)


class SilenceKind(StrEnum):
    SILENCE = "silence"
    MAINTENANCE = "maintenance"


class Matcher(Frozen):
    """Which incidents: all fields that are given must match. `*` stands for any text."""

    cluster: str = Field(default="", max_length=63)
    namespace: str = Field(default="", max_length=63)
    kind: str = Field(default="", max_length=63)
    name: str = Field(default="", max_length=253)
    alert: str = Field(default="", max_length=253)

    def covers(self, resource: ResourceRef, alerts: Iterable[str]) -> bool:
        """Whether it matches this object and, when it names an alert, every alert of it."""
        fields = (
            (self.cluster, resource.cluster),
            (self.namespace, resource.namespace),
            (self.kind, resource.kind),
            (self.name, resource.name),
        )
        if not all(matches(pattern, value) for pattern, value in fields if pattern):
            return False
        return not self.alert or all(matches(self.alert, alert) for alert in alerts)


class Weekly(Frozen):
    """A window that comes back every week: day 0 is Monday, the start is local time of the zone."""

    day: int = Field(ge=0, le=6)
    start: time
    minutes: int = Field(gt=0, le=24 * 60)
    zone: str


class Silence(Frozen):
    """`weekly` absent: once, from `starts_at` to `ends_at`; else every week between these two."""

    id: str
    kind: SilenceKind = SilenceKind.SILENCE
    matcher: Matcher
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    weekly: Weekly | None = None
    reason: str = Field(min_length=1, max_length=500)
    created_by: str = Field(min_length=1, max_length=253)
    lifted_at: AwareDatetime | None = None

    def until(self, now: datetime) -> datetime | None:
        """When it stops holding, if it holds now. A zone that is not known here holds nothing."""
        if self.lifted_at is not None or not self.starts_at <= now < self.ends_at:
            return None
        if self.weekly is None:
            return self.ends_at
        window = _window(self.weekly, now)
        return min(window, self.ends_at) if window is not None else None


def matches(pattern: str, value: str) -> bool:
    """Whether the value has the pattern's form. Only `*` is special; the time is linear in the lengths."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == value
    if not value.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = value.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(value) - at >= len(rest[-1]) and value.endswith(rest[-1])


@lru_cache(64)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _window(weekly: Weekly, now: datetime) -> datetime | None:
    """The end of the occurrence that is running now."""
    zone = _zone(weekly.zone)
    if zone is None:
        return None
    local = now.astimezone(zone)
    for back in (0, 1):  # it may have begun yesterday
        day = local.date() - timedelta(days=back)
        if day.weekday() == weekly.day:
            begins = datetime.combine(day, weekly.start, zone).astimezone(UTC)  # minutes are real ones
            ends = begins + timedelta(minutes=weekly.minutes)
            if begins <= now < ends:
                return ends
    return None


def check_silence(silence: Silence, now: datetime) -> Silence:
    """The silence, if it may be made. Raises `InvalidInput` naming the field."""
    matcher = silence.matcher
    narrow = (matcher.namespace, matcher.name, matcher.alert)
    if not any(set(field) - {"*"} for field in narrow) and (not matcher.cluster or "*" in matcher.cluster):
        raise InvalidInput("matcher", "matches too much: name one cluster, or a namespace, object or alert")
    if silence.ends_at <= silence.starts_at:
        raise InvalidInput("ends_at", "must be after starts_at")
    if silence.ends_at <= now:
        raise InvalidInput("ends_at", "is in the past")
    if silence.weekly is None and silence.ends_at - silence.starts_at > LONGEST:
        raise InvalidInput("ends_at", f"a silence lasts {LONGEST.days} days at most")
    if silence.weekly is not None and _zone(silence.weekly.zone) is None:
        raise InvalidInput("weekly.zone", "is not a time zone that this system knows")
    return silence


def held_until(
    silences: Sequence[Silence], resource: ResourceRef, alerts: Iterable[str], now: datetime
) -> tuple[datetime, Silence] | None:
    """Until when the incident is held, and by which silence; None when it is free."""
    names = list(alerts)
    holding = [
        (until, silence)
        for silence in silences
        if silence.matcher.covers(resource, names) and (until := silence.until(now)) is not None
    ]
    return max(holding, key=lambda found: found[0], default=None)


def who_holds(silence: Silence) -> str:
    """In one line, for audit and messages."""
    return f"{silence.kind} {silence.id} by {silence.created_by}: {silence.reason}"


def shown(silence: Silence) -> Mapping[str, str]:
    """For lists and messages."""
    given = {field: value for field, value in silence.matcher.model_dump().items() if value}
    return {
        "id": silence.id,
        "kind": silence.kind.value,
        "matches": ", ".join(f"{field}={value}" for field, value in given.items()),
        "until": silence.ends_at.isoformat(),
        "by": silence.created_by,
        "reason": silence.reason,
    }
