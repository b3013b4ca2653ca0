"""What `cortexops doctor` reports."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that was looked at."""

    ok: bool
    what: str
    detail: str
    remedy: str = ""
