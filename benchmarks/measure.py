"""One row of the table: what was measured, the figure, and the target."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """`met` is None where the design names no target."""

    what: str
    figure: str
    target: str
    met: bool | None
    samples: list[float]


def ratio_row(what: str, ratios: Sequence[float], least: float) -> Row:
    """The median of ratios that were each measured in one go."""
    median = statistics.median(ratios)
    return Row(what, f"{median:.2f}", f">= {least:g}", median >= least, list(ratios))


def at_most(what: str, samples: Sequence[float], most: float, unit: str) -> Row:
    """The median of samples against an upper limit."""
    median = statistics.median(samples)
    return Row(what, f"{median:.3g} {unit}", f"<= {most:g} {unit}", median <= most, list(samples))
