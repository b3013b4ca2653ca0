"""What a ResourceQuota has no room for."""

from __future__ import annotations

from cortexops.domain.errors import InvalidInput
from cortexops.domain.kubernetes.values import mapping
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.resource import JSON


def used_up(quota: JSON) -> dict[str, tuple[str, str]]:
    """Of a ResourceQuota what has no room left: name → (used, most). What is no quantity is left out."""
    found = {}
    used = mapping(quota, "status", "used")
    for name, most in mapping(quota, "status", "hard").items():
        try:
            if name in used and parse_quantity(used[name]) >= parse_quantity(most):
                found[str(name)] = (str(used[name]), str(most))
        except InvalidInput:
            continue
    return found
