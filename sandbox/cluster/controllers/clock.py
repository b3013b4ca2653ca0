"""Time in the sandbox: timestamps are the wall clock's, durations are shortened by one factor."""

from __future__ import annotations

from datetime import UTC, datetime


class Clock:
    """`speed` 10 makes a back-off of 10 s last 1 s. Timestamps stay true, so that ages read naturally."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def now(self) -> datetime:
        """The present, UTC."""
        return datetime.now(UTC)

    def real(self, nominal_seconds: float) -> float:
        """How many seconds of wall clock a nominal duration takes."""
        return nominal_seconds / self.speed

    def nominal(self, real_seconds: float) -> float:
        """How many nominal seconds pass in a span of wall clock."""
        return real_seconds * self.speed


def stamp(when: datetime) -> str:
    """RFC 3339 with whole seconds, as `metav1.Time` is written."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_stamp(when: datetime) -> str:
    """RFC 3339 with microseconds, as `metav1.MicroTime` is written."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_stamp(text: str) -> datetime:
    """The instant that an API timestamp names."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
