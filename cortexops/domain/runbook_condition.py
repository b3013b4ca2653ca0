"""Whether a value is as a runbook expects it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from cortexops.domain.errors import InvalidInput
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.runbook import Expect
from cortexops.domain.runbook_template import Scalar, as_text, expected

_ORDERED: dict[str, tuple[str, Callable[[Decimal, Decimal], bool]]] = {
    "at_least": ("at least", lambda found, wanted: found >= wanted),
    "more_than": ("more than", lambda found, wanted: found > wanted),
    "at_most": ("at most", lambda found, wanted: found <= wanted),
    "less_than": ("less than", lambda found, wanted: found < wanted),
}
_WORDS = {"equals": "", "not_equals": "not", "contains": "text with"}


class NotComparable(InvalidInput):
    """The value is of a sort that the condition cannot be asked of."""


def holds(expect: Expect, value: Scalar | None, values: Mapping[str, Scalar]) -> bool:
    """Whether all that is expected is so; `value` is None where there is none.

    Raises `NotComparable` for an order of what has none, and `Missing` for a name that is not known.
    """
    given = expect.model_fields_set
    if expect.exists is not None and (value is not None) is not expect.exists:
        return False
    if value is None:
        return not given - {"exists", "not_equals"}
    if "equals" in given and not _same(value, _wanted(expect.equals, values)):
        return False
    if "not_equals" in given and _same(value, _wanted(expect.not_equals, values)):
        return False
    if expect.one_of is not None and not any(_same(value, _wanted(one, values)) for one in expect.one_of):
        return False
    if expect.contains is not None and as_text(_wanted(expect.contains, values)) not in as_text(value):
        return False
    for name, (_, compare) in _ORDERED.items():
        if name in given and not compare(_number(value), _number(_wanted(getattr(expect, name), values))):
            return False
    return True


def worded(expect: Expect, values: Mapping[str, Scalar]) -> str:
    """What is expected, in words. Raises `Missing`."""
    parts = []
    for name in (*_ORDERED, "equals", "not_equals", "contains"):
        if name in expect.model_fields_set:
            word = _ORDERED[name][0] if name in _ORDERED else _WORDS[name]
            parts.append(f"{word} {as_text(_wanted(getattr(expect, name), values))}".strip())
    if expect.one_of is not None:
        parts.append("one of " + ", ".join(as_text(_wanted(one, values)) for one in expect.one_of))
    if expect.exists is not None:
        parts.append("to be there" if expect.exists else "to be absent")
    return " and ".join(parts)


def _wanted(value: Scalar | None, values: Mapping[str, Scalar]) -> Scalar:
    return "null" if value is None else expected(value, values)


def _same(one: Scalar, other: Scalar) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return as_text(one).lower() == as_text(other).lower()
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    try:
        return _number(one) == _number(other)
    except NotComparable:
        return False


def _number(value: Scalar) -> Decimal:
    if isinstance(value, bool):
        raise NotComparable("expect", f"{as_text(value)} has no order")
    if isinstance(value, int | float):
        return Decimal(str(value))
    try:
        return parse_quantity(value)
    except InvalidInput:
        raise NotComparable("expect", f"{value[:80]!r} is no number or quantity") from None
