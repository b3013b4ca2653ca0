"""Alarms that servers raise in their logs and take back there."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OVER = re.compile(
    r"(?i)(resource limit alarm cleared|alarm (?:has been )?cleared|disk watermark \[[^\]]*\] no longer exceeded"
    r"|no longer exceeds? the .{0,20}watermark|(?:removing|removed) read.only.allow.delete|releasing read-only)"
)


def in_force(lines: Sequence[str]) -> Sequence[str]:
    """The lines after the last that takes an alarm back."""
    over = [place for place, line in enumerate(lines) if _OVER.search(line)]
    return lines[over[-1] + 1 :] if over else lines
