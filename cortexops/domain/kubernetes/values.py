"""Walking plain JSON without trusting its shape."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cortexops.domain.errors import InvalidInput
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.resource import JSON


def dig(value: Any, *path: str | int) -> Any:
    """What is found under the path, or None."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def mapping(value: Any, *path: str | int) -> JSON:
    """The object under the path, empty when there is none."""
    found = dig(value, *path)
    return found if isinstance(found, dict) else {}


def objects(value: Any, *path: str | int) -> list[JSON]:
    """The objects of the list under the path."""
    found = dig(value, *path)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def words(value: Any, *path: str | int) -> list[str]:
    """The strings of the list under the path."""
    found = dig(value, *path)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def text(value: Any, *path: str | int) -> str:
    """The string (or number, as a string) under the path, empty when there is none."""
    found = dig(value, *path)
    if isinstance(found, str):
        return found
    return str(found) if isinstance(found, int | float) and not isinstance(found, bool) else ""


def texts(value: Any, *path: str | int) -> dict[str, str]:
    """The string entries of the object under the path, as of labels or a ConfigMap's data."""
    return {str(key): text(item) for key, item in mapping(value, *path).items() if text(item) or item == ""}


def number(value: Any, *path: str | int, default: int = 0) -> int:
    """The whole number under the path."""
    found = dig(value, *path)
    if isinstance(found, bool):
        return default
    if isinstance(found, int):
        return found
    if isinstance(found, str) and found.lstrip("-").isdigit():
        return int(found)
    return default


def moment(value: Any, *path: str | int) -> datetime | None:
    """The RFC 3339 time under the path, with its zone (UTC when none is written)."""
    found = dig(value, *path)
    if not isinstance(found, str) or not found:
        return None
    try:
        parsed = datetime.fromisoformat(found)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def amount(value: Any, *path: str | int) -> Decimal | None:
    """The quantity under the path in base units, None when there is none or it is unreadable."""
    found = text(value, *path)
    if not found:
        return None
    try:
        return parse_quantity(found)
    except InvalidInput:
        return None


def earliest(*times: datetime | None) -> datetime | None:
    """The earliest of those that are known."""
    return min((time for time in times if time is not None), default=None)


def latest(*times: datetime | None) -> datetime | None:
    """The latest of those that are known."""
    return max((time for time in times if time is not None), default=None)
