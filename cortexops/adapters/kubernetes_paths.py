"""Where the API serves what: kinds that the product knows, and their paths."""

from __future__ import annotations

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import KINDS, Kind


def known_kind(kind: str) -> Kind:
    """The kind of that name. Raises `InvalidInput`."""
    known = KINDS.get(kind)
    if known is None:
        raise InvalidInput("kind", f"{kind!r} is not a kind that the product knows")
    return known


def _segment(field: str, value: str) -> str:
    """A value that stands for exactly one path segment."""
    if not value or value in {".", ".."} or not all(c.isalnum() or c in "-._:@" for c in value):
        raise InvalidInput(field, f"{value!r} is not a Kubernetes name")
    return value


def path_of(version: str, kind: Kind, namespace: str, name: str = "", subresource: str = "") -> str:
    """The path of a list, an object or its subresource. Raises `InvalidInput` for what is no name."""
    path = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    if kind.namespaced and namespace:
        path += f"/namespaces/{_segment('namespace', namespace)}"
    path += f"/{kind.plural}"
    if name:
        path += f"/{_segment('name', name)}"
        if subresource:
            path += f"/{_segment('subresource', subresource)}"
    return path
