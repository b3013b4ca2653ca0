"""Making answers alike: servers differ in what they leave out of objects, and in what of a question they heed."""

from __future__ import annotations

from typing import Any

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.selectors import query_matches
from cortexops.domain.kubernetes.values import dig, mapping, objects
from cortexops.domain.resource import JSON, Kind

NEW_EVENTS = ("events.k8s.io/v1",)
ALWAYS_SERVED = ("v1", "apps/v1", "batch/v1")
"""Groups that every cluster has: one that lacks a list there has it in another place."""

MOST_PAGES = 400
"""Pages of one list; a server that needs more does not heed tokens."""
BUILT_IN = ("batch/", "autoscaling/", "policy/", "discovery.k8s.io/")
"""Groups of several versions that an API server brings itself: their absence from discovery is a slip."""

_FIELDS = ("metadata.", "spec.nodeName", "status.phase", "involvedObject.")
"""Fields to select by that are fields of the object, too, under the same path."""
_RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedCount": "count",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedSource": "source",
}


def whole(obj: JSON, kind: Kind, version: str, namespace: str, name: str = "") -> JSON:
    """The object with what its place in the API says of it anyway: kind, version, namespace and name.

    Events of the newer group get the field names of core/v1.
    """
    placed: dict[str, Any] = {"name": name} if name else {}
    if kind.namespaced and namespace:
        placed["namespace"] = namespace
    own = mapping(obj, "metadata")
    full: JSON = {"apiVersion": version, "kind": kind.kind, **obj}
    if "metadata" not in obj or not isinstance(obj["metadata"], dict) or any(not own.get(k) for k in placed):
        full["metadata"] = own | {key: own.get(key) or value for key, value in placed.items()}
    if kind.kind == "Event":
        for new, old in _RENAMED.items():
            if full.get(new) and not full.get(old):
                full[old] = full[new]
    return full


def listed(page: JSON, kind: Kind, version: str, namespace: str) -> list[JSON]:
    """The objects of a list; `items` may be null, and items come without kind and version."""
    items = objects(page, "items")
    untold = "" if any(meta.namespace(item) for item in items) else namespace
    return [whole(item, kind, version, untold) for item in items]


def place_of(item: JSON) -> tuple[str, str]:
    """What tells an object from the others of its list."""
    return meta.namespace(item), meta.name(item) or str(id(item))


def goes_on(token: str, following: str) -> bool:
    """Whether there is a page after. A server that does not heed tokens gives the same one for ever; an empty
    page tells nothing, since all of its objects may have been filtered out."""
    return following not in ("", token)


def narrowed(items: list[JSON], namespace: str, labels: str, fields: str) -> list[JSON]:
    """Those that were asked for."""
    return [
        item
        for item in items
        if (not namespace or meta.namespace(item) in ("", namespace))
        and query_matches(labels, meta.labels(item))
        and all(_has(item, part) for part in fields.split(",") if part)
    ]


def can_narrow(fields: str) -> bool:
    """Whether there is something to select by, and all of it can be looked up in the objects themselves."""
    return bool(fields) and all(part.startswith(_FIELDS) for part in fields.split(","))


def _has(item: JSON, part: str) -> bool:
    unequal = "!=" in part
    path, _, value = part.partition("!=" if unequal else "=")
    if not path.startswith(_FIELDS):
        return True
    found = dig(item, *path.split("."))
    return (("" if found is None else str(found)) == value.lstrip("=")) != unequal
