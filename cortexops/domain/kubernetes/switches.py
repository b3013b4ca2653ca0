"""Feature flags as files hold them: which of them are on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_LONGEST = 100_000  # characters
_DEEPEST = 4
_ON = ("on", "true", "enabled", "yes", "treatment")
_SAYS_SO = ("defaultVariant", "enabled", "on", "active", "value", "default", "state")
"""Fields of a flag's document that tell whether it is on, the most telling first: those of flagd, Unleash, Flipt
and plain files."""
SERVES = re.compile(
    r"(?i)(flag|unleash|flipt|goff|launchdarkly|growthbook|split-?(?:io|evaluator)|configcat|toggle)"
)
"""Names of what serves switches: a caller that stumbles over one rarely says so."""
_LINE = re.compile(
    r"(?im)^\s*[\"']?([A-Za-z][\w.-]{2,80})[\"']?\s*[:=]\s*[\"']?(?:on|true|enabled|yes)[\"']?\s*,?\s*$"
)


def switched_on(document: str) -> list[str]:
    """The names of the switches that are on in a file of flags: JSON, or lines `name: true`."""
    if len(document) > _LONGEST:
        return []
    try:
        read = json.loads(document)
    except (ValueError, RecursionError):
        return [match.group(1) for match in _LINE.finditer(document)]
    return _of(read, 0)


def _of(value: Any, depth: int) -> list[str]:
    if depth >= _DEEPEST:
        return []
    if isinstance(value, list):
        return [name for item in value for name in _listed(item, depth)]
    if not isinstance(value, Mapping):
        return []
    found: list[str] = []
    for name, inner in value.items():
        if isinstance(inner, Mapping) and any(field in inner for field in _SAYS_SO):
            found += [name] if _is_on(inner) else []
        elif isinstance(inner, Mapping | list):
            found += _of(inner, depth + 1)
        elif inner is True or (isinstance(inner, str) and inner.lower() in ("on", "enabled")):
            found.append(name)
    return found


def _listed(item: Any, depth: int) -> list[str]:
    """A flag as an entry of a list, which has its name in a field."""
    name = (item.get("name") or item.get("key")) if isinstance(item, Mapping) else None
    if isinstance(name, str) and any(field in item for field in _SAYS_SO):
        return [name] if _is_on(item) else []
    return _of(item, depth + 1)


def _is_on(flag: Mapping[str, Any]) -> bool:
    """By the most telling field that it has."""
    said = next((flag[field] for field in _SAYS_SO if field in flag), None)
    return said is True or (isinstance(said, str) and said.lower() in _ON)
