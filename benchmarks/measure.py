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

    @property
    def spread(self) -> str:
        """The least and the greatest sample, where there are several."""
        if len(self.samples) < 2:
            return ""
        return f"{min(self.samples):.3g} … {max(self.samples):.3g} of {len(self.samples)}"


def ratio_row(what: str, ratios: Sequence[float], least: float) -> Row:
    """The median of ratios that were each measured in one go."""
    median = statistics.median(ratios)
    return Row(what, f"{median:.2f}", f">= {least:g}", median >= least, list(ratios))


def at_most(what: str, samples: Sequence[float], most: float, unit: str) -> Row:
    """The median of samples against an upper limit."""
    median = statistics.median(samples)
    return Row(what, f"{median:.3g} {unit}", f"<= {most:g} {unit}", median <= most, list(samples))


def plain(what: str, samples: Sequence[float], unit: str) -> Row:
    """The median of samples, to be read beside a row that has a target."""
    return Row(what, f"{statistics.median(samples):.4g} {unit}".strip(), "", None, list(samples))


def exactly(what: str, found: float, wanted: float) -> Row:
    """A number that must be what it must be."""
    return Row(what, f"{found:g}", f"= {wanted:g}", found == wanted, [float(found)])
