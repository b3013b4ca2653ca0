"""How many correlators there should be, from the messages that wait. Pure; who asks keeps the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_EASY = 4
"""One process fewer must have no more than this part of what would call it back."""


class Look(NamedTuple):
    """The backlog in messages at one moment (seconds of any clock that only goes forward)."""

    at: float
    backlog: int


class ScaleLimits(NamedTuple):
    """When to add and when to remove. Adding is quick and removing is slow: a process that comes and goes
    makes partitions change hands."""

    most: int  # processes; there is always one
    per_process: int = 1000  # waiting messages for each process before another is added
    busy_seconds: float = 4.0  # so long the backlog must stay above that
    idle_seconds: float = 30.0  # and so long nearly empty before one is removed


def scale(backlog: int, processes: int, history: Sequence[Look], limits: ScaleLimits) -> int:
    """How many processes there should be now: at most one more or fewer than there are, between 1 and the most.

    `history` holds looks since the number last changed, oldest first, the newest being now. Only what held in
    all of a span that the history covers counts, so one look never decides anything.
    """
    if not 1 <= processes <= limits.most:
        return max(1, min(processes, limits.most))
    enough = limits.per_process * processes
    if processes < limits.most and backlog > enough:
        recent = _since(history, limits.busy_seconds)
        if recent and all(look.backlog > enough for look in recent):
            return processes + 1
    easy = limits.per_process * (processes - 1) // _EASY
    if processes > 1 and backlog <= easy:
        recent = _since(history, limits.idle_seconds)
        if recent and all(look.backlog <= easy for look in recent):
            return processes - 1
    return processes


def _covers(history: Sequence[Look], seconds: float) -> bool:
    return bool(history) and history[-1].at - history[0].at >= seconds


def _since(history: Sequence[Look], seconds: float) -> Sequence[Look]:
    """The looks of the last so many seconds, or nothing when the history does not reach back so far."""
    if not _covers(history, seconds):
        return ()
    until = history[-1].at
    return [look for look in history if look.at >= until - seconds]
