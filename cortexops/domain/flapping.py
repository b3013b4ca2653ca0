"""Flapping: what ends by itself and comes back again and again needs a person, not one more remedy."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

WINDOW = timedelta(hours=24)
MOST_ENDS = 3
"""So many ends within the window are flapping (the practice of a peer: three resolutions in 24 hours)."""


def is_flapping(ends: Iterable[datetime], now: datetime) -> bool:
    """Whether something has ended too often lately. `ends` may be in any order."""
    return sum(now - WINDOW < end <= now for end in ends) >= MOST_ENDS
