"""Kubernetes quantities: `512Mi`, `1.5Gi`, `250m`, `2`, `1e3`."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from cortexops.domain.errors import InvalidInput

_FORM = re.compile(
    r"([+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?|[+-]?\.[0-9]{1,40})"
    r"(?:[eE]([+-]?[0-9]{1,2})|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E))?"
)
_SUFFIX = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9),
    "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30),
    "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


def parse_quantity(text: str | int | float) -> Decimal:
    """The number in base units (bytes, cores). Raises `InvalidInput` for anything else.

    More than 40 digits or an exponent of more than two are refused: no cluster has such amounts.
    """
    match = _FORM.fullmatch(str(text).strip())
    if match is None:
        raise InvalidInput(
            "quantity", f"{str(text)[:40]!r} is not a Kubernetes quantity such as 512Mi or 250m"
        )
    number, exponent, suffix = match.groups()
    scale = Decimal(10) ** int(exponent) if exponent else _SUFFIX[suffix or ""]
    return Decimal(number) * scale


def format_cores(value: Decimal) -> str:
    """Whole cores or millicores, rounded down: `2`, `1500m`."""
    millicores = int((value * 1000).to_integral_value(ROUND_FLOOR))
    return str(millicores // 1000) if millicores % 1000 == 0 else f"{millicores}m"


def format_bytes(value: Decimal | int, *, at_most: bool = False) -> str:
    """Whole mebibytes or gibibytes, rounded up: `768Mi`, `1Gi`, `1536Mi`.

    With `at_most` rounded down, so that a bound in other units (`500M`) is never exceeded.
    """
    whole = int(Decimal(value).to_integral_value(ROUND_FLOOR if at_most else ROUND_CEILING))
    mebibytes = whole // 2**20 if at_most else -(-whole // 2**20)
    if mebibytes == 0:
        return "0"
    return f"{mebibytes // 1024}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"
