"""Strategic merge patch: lists are merged by the keys that Kubernetes' types declare."""

from __future__ import annotations

from typing import Any

from cortexops.domain.resource import JSON
from sandbox.cluster.errors import ApiError, bad_request

_PRIMITIVE = ""

_MERGE_KEYS: dict[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "conditions": "type",
    "ownerReferences": "uid",
    "secrets": "name",
    "podIPs": "ip",
    "hostIPs": "ip",
    "addresses": "type",
    "finalizers": _PRIMITIVE,
    "podCIDRs": _PRIMITIVE,
}
"""Field -> merge key. A list that is not here is replaced as a whole (tolerations, command, args, …)."""

_MAPS = frozenset(
    {"data", "stringData", "labels", "annotations", "matchLabels", "nodeSelector", "binaryData"}
)
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DROP = "$deleteFromPrimitiveList/"


def merge_key(path: tuple[str, ...]) -> str | None:
    """How the list at `path` is merged: by a key, as a set (empty text), or not at all (None)."""
    field = path[-1] if path else ""
    parent = path[-2] if len(path) > 1 else ""
    if field == "ports":
        if parent in ("containers", "initContainers", "ephemeralContainers"):
            return "containerPort"
        return "port" if path == ("spec", "ports") else None
    if any(step in _MAPS for step in path[:-1]):
        return None
    if field == "secrets" and len(path) > 1:
        return None
    return _MERGE_KEYS.get(field)


def apply(document: JSON, patch: JSON, path: tuple[str, ...] = ()) -> JSON:
    """A new document with the patch merged in. Raises `ApiError` (400) for a patch that makes no sense."""
    directive = patch.get("$patch")
    if directive == "replace":
        return apply({}, {key: value for key, value in patch.items() if key != "$patch"}, path)
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown $patch directive {directive!r}")
    result = dict(document)
    retain = patch.get(_RETAIN)
    if isinstance(retain, list):
        result = {key: value for key, value in result.items() if key in retain}
    for key, value in patch.items():
        if key in ("$patch", _RETAIN) or key.startswith(_ORDER):
            continue
        if key.startswith(_DROP):
            field = key.removeprefix(_DROP)
            gone = value if isinstance(value, list) else []
            result[field] = [item for item in result.get(field) or [] if item not in gone]
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value, (*path, key))
    for key, value in patch.items():
        if key.startswith(_ORDER):
            field = key.removeprefix(_ORDER)
            if isinstance(result.get(field), list) and isinstance(value, list):
                result[field] = _ordered(result[field], value, merge_key((*path, field)))
    return result


def _merge(current: Any, value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return apply(current if isinstance(current, dict) else {}, value, path)
    if isinstance(value, list):
        key = merge_key(path)
        if key is None:
            return [_clean(item, path) for item in value if not _is_directive(item)]
        base = list(current) if isinstance(current, list) else []
        if key == _PRIMITIVE:
            return base + [item for item in value if item not in base]
        return _merge_keyed(base, value, key, path)
    return value


def _is_directive(item: Any) -> bool:
    return isinstance(item, dict) and set(item) == {"$patch"}


def _merge_keyed(base: list[Any], changes: list[Any], key: str, path: tuple[str, ...]) -> list[Any]:
    if any(_is_directive(item) and item["$patch"] == "replace" for item in changes):
        return [_clean(item, path) for item in changes if not _is_directive(item)]
    result = list(base)
    for change in changes:
        if not isinstance(change, dict) or key not in change:
            raise _lacks_key(change, key)
        identity = change[key]
        if change.get("$patch") == "delete":
            result = [item for item in result if not (isinstance(item, dict) and item.get(key) == identity)]
            continue
        for position, item in enumerate(result):
            if isinstance(item, dict) and item.get(key) == identity:
                result[position] = apply(item, change, path)
                break
        else:
            result.append(_clean(change, path))
    return result


def _lacks_key(change: Any, key: str) -> ApiError:
    return bad_request(f"map: {change!r} does not contain declared merge key: {key}")


def _ordered(items: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """Sort by the order the patch names; what it does not name keeps its place after its predecessor."""
    wanted = [item.get(key) if key and isinstance(item, dict) else item for item in order]
    rank = {str(identity): position for position, identity in enumerate(wanted)}
    last = -1
    ranked: list[tuple[int, int, Any]] = []
    for position, item in enumerate(items):
        identity = item.get(key) if key and isinstance(item, dict) else item
        last = rank.get(str(identity), last)
        ranked.append((last, position, item))
    ranked.sort(key=lambda entry: (entry[0], entry[1]))
    return [item for _, _, item in ranked]


def _clean(value: Any, path: tuple[str, ...]) -> Any:
    """New content from a patch: without its directives and nulls."""
    if isinstance(value, dict):
        return apply({}, {k: v for k, v in value.items() if k != "$patch"}, path)
    return value
