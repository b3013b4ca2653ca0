"""Whether anything of an incident still fires: the newest report of each series decides."""

from __future__ import annotations

from collections.abc import Iterable

from cortexops.domain.signal import Signal, SignalStatus

MOST_TOLD = 50
"""Series with which an incident is opened in the books; of more, those that were there first are not all known."""


def supersedes(signal: Signal, known: Signal) -> bool:
    """Whether it says more of its series than what was known: a later start, or the end of the same firing."""
    resolved = SignalStatus.RESOLVED
    return (signal.started_at, signal.status is resolved) >= (known.started_at, known.status is resolved)


def all_resolved(signals: Iterable[Signal]) -> bool:
    """Whether every series has stopped firing. False where there is none."""
    newest: dict[str, Signal] = {}
    for signal in signals:
        known = newest.get(signal.fingerprint)
        if known is None or supersedes(signal, known):
            newest[signal.fingerprint] = signal
    return bool(newest) and all(one.status is SignalStatus.RESOLVED for one in newest.values())
