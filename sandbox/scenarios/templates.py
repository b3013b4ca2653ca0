"""Texts in scenarios that depend on the present: ages, and names that controllers generate."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cortexops.domain.errors import InvalidInput
from sandbox.cluster.controllers.clock import stamp

_SPAN = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"\$ago\(([\dsmhd]+)\)")
_POD = re.compile(r"\$pod\(([^,()]+),([^()]+)\)")

FindPod = Callable[[str, dict[str, str]], str]
"""Namespace and labels to the name of a pod."""


def span(text: str) -> timedelta:
    """A duration such as `6h` or `2d12h`. Raises InvalidInput when it is none."""
    if not re.fullmatch(f"(?:{_SPAN.pattern})+", text):
        raise InvalidInput("duration", f"{text!r} is not like 90s, 15m, 6h or 2d12h")
    return timedelta(seconds=sum(int(n) * _SECONDS[unit] for n, unit in _SPAN.findall(text)))


def expand(value: Any, now: datetime, find_pod: FindPod | None = None) -> Any:
    """The same structure with every template in its texts filled in."""
    if isinstance(value, dict):
        return {name: expand(item, now, find_pod) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [expand(item, now, find_pod) for item in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    text = _AGO.sub(lambda found: stamp(now - span(found[1])), value).replace("$now", stamp(now))
    if find_pod is not None:
        find = find_pod
        text = _POD.sub(lambda found: find(found[1], _labels(found[2])), text)
    return text


def _labels(text: str) -> dict[str, str]:
    return dict(pair.strip().split("=", 1) for pair in text.split(","))
