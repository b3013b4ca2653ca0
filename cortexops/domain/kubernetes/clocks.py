"""Clocks of nodes that are wrong: what detectors say of them, and what programs complain of then."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.remembered import Remembered

_CONDITION = re.compile(r"(?i)ntp|chrony|clock|time-?sync|timedrift|timeskew")
_COMPLAINT = Remembered(
    r"(?i)(used before (?:it was )?issued|issued (?:in the future|at .{0,40}in the future)|\b(?:iat|nbf)\b.{0,60}"
    r"(?:future|not (?:yet )?valid|before|after now)|(?:token|jwt|assertion|ticket|certificate|signature)\b.{0,60}"
    r"not (?:yet|before) valid|not valid yet|not yet valid|token is not active|premature ?jwt|clock (?:skew|drift)"
    r"|skew(?:ed)? (?:too|between|is)|requesttimetooskewed|too far (?:in the future|ahead)|requestexpired"
    r"|signature (?:not yet current|expired: \d+)|timestamp .{0,60}(?:in the future|outside .{0,20}window)"
    r"|is .{0,20}ahead of (?:the )?(?:local|system|server) (?:clock|time)|certificatenotyetvalid)"
)


def is_of_clock(condition: meta.Condition) -> bool:
    """Whether a detector's condition is about the clock."""
    return _CONDITION.search(condition.type) is not None


def about_time(lines: Sequence[str]) -> list[str]:
    """Complaints that make sense where a clock is wrong: something was issued in the future, or is too old."""
    return [line for line in lines if _COMPLAINT.search(line)]
