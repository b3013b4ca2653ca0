"""Kubernetes quantities: `500m`, `2Gi`, `1e3`."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SHAPE = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([A-Za-z]{0,2}))$")


def parse(text: object) -> Decimal:
    """The amount in base units. Raises `ValueError` for what is no quantity."""
    match = _SHAPE.match(str(text)) if isinstance(text, str | int | float) else None
    if match is None or isinstance(text, bool):
        raise ValueError(text)
    number, exponent, suffix = match.groups()
    try:
        amount = Decimal(number + (exponent or ""))
    except InvalidOperation as error:
        raise ValueError(text) from error
    if not suffix:
        return amount
    if suffix in _BINARY:
        return amount * Decimal(1024) ** _BINARY[suffix]
    if suffix in _DECIMAL:
        return amount * Decimal(10) ** _DECIMAL[suffix]
    raise ValueError(text)


def render(amount: Decimal, *, binary: bool) -> str:
    """The canonical text: the largest suffix that leaves a whole number."""
    if amount == 0:
        return "0"
    if binary and amount == amount.to_integral_value():
        whole = int(amount)
        for suffix, power in sorted(_BINARY.items(), key=lambda item: -item[1]):
            if whole % 1024**power == 0:
                return f"{whole // 1024**power}{suffix}"
        return str(whole)
    for suffix, power in sorted(_DECIMAL.items(), key=lambda item: -item[1]):
        scaled = amount.scaleb(-power)
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    return f"{int(amount.scaleb(9).to_integral_value())}n"


def canonical(text: object) -> str:
    """A quantity as the API server stores it. Raises `ValueError`."""
    return render(parse(text), binary=is_binary(text))


def is_binary(text: object) -> bool:
    """Whether it is written in powers of 1024."""
    return str(text).endswith("i")
