"""How often the series of a check are scraped, and how long must be watched because of it.

A rate needs several scrapes: one over less than four of them jumps with every sample. So the time that a value
covers, and the time that a verification watches, grow with the interval that Prometheus' own samples show.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cortexops.domain.metric_checks import MetricCheck, Scope, filled, milliseconds
from cortexops.domain.verification import Limits

LEAST_SCRAPES = 4
"""A value covers at least so many scrapes, where that is more than the configured time."""
LONGEST_INTERVAL = 120.0
"""Seconds. Nobody waits for scrapes that are further apart; such a check is judged as far as it goes."""
MOST_EXTENSION = LEAST_SCRAPES * LONGEST_INTERVAL
"""Seconds by which a verification may become longer at most."""
_LOOKED_AT = 600.0  # seconds of samples
_STEP = 5.0  # seconds
_MOST_SERIES = 4  # kinds of series in one check that are looked at
_SELECTOR = re.compile(
    r"(?:[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*"
    r"(?:\{(?:[^{}\"'`]|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`)*\})?\s*"
    rf"\[{milliseconds(_LOOKED_AT)}\]"
)


def interval_query(check: MetricCheck, scope: Scope, *, calm_ago: float | None = None) -> str | None:
    """Asks for the seconds between two samples of what the check reads; empty where it has too few of them.

    Of several series and times the closest samples count: a pod that was down was not scraped. `calm_ago`:
    so many seconds before the moment of the query a calm time ended. None where the check names no series.
    Raises `InvalidInput` as `filled` does.
    """
    text = filled(check, scope, seconds=_LOOKED_AT)
    series = [found.group().rpartition("[")[0].strip() for found in _SELECTOR.finditer(text)]
    offsets = ["", f" offset {max(1, round(calm_ago))}s"] if calm_ago is not None else [""]
    spacings = [
        f'label_replace(min({_spacing(name, offset)}), "of", "{number}.{place}", "", "")'
        for number, name in enumerate([name for name in dict.fromkeys(series) if name][:_MOST_SERIES])
        for place, offset in enumerate(offsets)
    ]
    return f"min({' or '.join(spacings)})" if spacings else None


def _spacing(series: str, offset: str) -> str:
    """From the first to the last sample that is seen, by the number of steps between them."""
    times = f"timestamp({series})[{milliseconds(_LOOKED_AT)}:{_STEP:g}s]{offset}"
    return f"(max_over_time({times}) - min_over_time({times})) / (changes({times}) >= {LEAST_SCRAPES - 1})"


def usable(interval: float | None) -> float | None:
    """The interval to the second, where it has to be waited for and can be; else None. Samples that are
    about as close as they are looked at cannot be told apart, and are often enough."""
    if interval is None or not 1.5 * _STEP < interval <= LONGEST_INTERVAL:
        return None
    return float(round(interval))


def covered(configured: float, interval: float | None) -> float:
    """Seconds that a value covers at most: as configured, and four scrapes at least."""
    return configured if interval is None else max(configured, LEAST_SCRAPES * interval)


def lengthened(limits: Limits, intervals: Sequence[float], *, most: float | None = None) -> Limits:
    """The limits with a window in which four scrapes fit before the time of health begins; `most` bounds it."""
    if not intervals:
        return limits
    needed = LEAST_SCRAPES * max(intervals) + limits.stable_for
    window = needed if most is None else min(needed, most)
    return limits.model_copy(update={"window": max(limits.window, window)})
