"""Lengths of time as Go programs write them: `5m`, `1h30m`, `0.5s`, `500ms`."""

from __future__ import annotations

import re
from datetime import timedelta

_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_LONGEST = 10**9  # seconds


def span(text: str) -> timedelta | None:
    """The length, None where it is none."""
    parts = _PART.findall(text[:64])
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return timedelta(seconds=min(sum(float(n) * _SECONDS[unit] for n, unit in parts), _LONGEST))
