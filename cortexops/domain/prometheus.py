"""What Prometheus answers, read."""

from __future__ import annotations

import math
from typing import Any


def sample_value(pair: Any) -> float | None:
    """The value of a sample, `[time, "value"]`; None for what is none, and for NaN and the infinities."""
    try:
        value = float(pair[1]) if isinstance(pair, list) and len(pair) == 2 else math.nan
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
