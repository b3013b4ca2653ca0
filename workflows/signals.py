"""The signals of one incident, folded: one place per series, whatever repeats."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cortexops.domain.firing import MOST_TOLD, all_resolved, supersedes
from cortexops.domain.flapping import is_flapping
from cortexops.domain.signal import Signal, SignalStatus

_MOST_SERIES = 200


class SignalLog:
    """The newest signal of each series, and how many there were in all."""

    def __init__(self) -> None:
        self._newest: dict[str, Signal] = {}
        self._ends: dict[str, set[datetime]] = {}
        self.received = 0

    def __len__(self) -> int:
        return len(self._newest)

    def add(self, signals: Iterable[Signal]) -> None:
        """A later start, or the end of the same firing, replaces what was known of a series."""
        for signal in signals:
            self.received += 1
            known = self._newest.get(signal.fingerprint)
            if known is None and len(self._newest) >= _MOST_SERIES:
                continue
            if known is None or supersedes(signal, known):
                self._newest[signal.fingerprint] = signal
            if signal.status is SignalStatus.RESOLVED and signal.ended_at is not None:
                self._ends.setdefault(signal.fingerprint, set()).add(signal.ended_at)

    def flapping(self, now: datetime) -> bool:
        """Whether one of the series has ended and come back too often."""
        return any(is_flapping(ends, now) for ends in self._ends.values())

    @property
    def firing(self) -> frozenset[str]:
        """Names of the alerts that fire."""
        return frozenset(s.name for s in self._newest.values() if s.status is SignalStatus.FIRING)

    @property
    def all(self) -> list[Signal]:
        return list(self._newest.values())

    @property
    def newest(self) -> tuple[Signal, ...]:
        """What an investigation needs of them, the most severe first, bounded."""
        told = sorted(self._newest.values(), key=lambda s: (-s.severity.rank, s.started_at, s.fingerprint))
        return tuple(told[:MOST_TOLD])

    @property
    def all_resolved(self) -> bool:
        """Whether every series has stopped firing."""
        return all_resolved(self._newest.values())

    @property
    def only_object_states(self) -> bool:
        """Whether all of it came from watching objects: then a healthy object means that it is over."""
        return all(s.source == "kubernetes" for s in self._newest.values())
