"""`metadata.managedFields`: who wrote which field, and when."""

from __future__ import annotations

from typing import Any

import msgspec

from cortexops.domain.resource import JSON
from sandbox.cluster.strategic import merge_key

_BOOKKEEPING = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "selfLink",
    }
)


def _tracked(obj: JSON) -> JSON:
    left_out = {"apiVersion", "kind", "metadata"} | (set() if obj.get("status") else {"status"})
    result = {key: value for key, value in obj.items() if key not in left_out}
    metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _BOOKKEEPING}
    return result | ({"metadata": metadata} if metadata else {})


def _keyed(items: Any, path: tuple[str, ...]) -> dict[str, Any] | None:
    """A list as a map from its merge key, or None when it is written as a whole."""
    key = merge_key(path)
    if not key or not isinstance(items, list):
        return None
    if not all(isinstance(item, dict) and key in item for item in items):
        return None
    names = (msgspec.json.encode({key: item[key]}).decode() for item in items)
    return {f"k:{name}": item for name, item in zip(names, items, strict=True)}


def changed(before: Any, after: Any, path: tuple[str, ...] = ()) -> JSON:
    """The fields that hold something else than before, as a FieldsV1 tree. Empty when none."""
    result: JSON = {}
    for key, value in after.items():
        old = before.get(key) if isinstance(before, dict) else None
        if old == value:
            continue
        name = key if key.startswith("k:") else f"f:{key}"
        # an element of a keyed list is on the path of its list
        deeper = path if key.startswith("k:") else (*path, key)
        children: JSON = {}
        keyed = _keyed(value, deeper)
        if keyed is not None:
            children = changed(_keyed(old, deeper) or {}, keyed, deeper)
        elif isinstance(value, dict):
            children = changed(old, value, deeper)
        if children and old is None:
            children = {".": {}} | children
        result[name] = children
    return result


def _merged(one: JSON, other: JSON) -> JSON:
    result = dict(one)
    for key, value in other.items():
        result[key] = _merged(result[key], value) if key in result else value
    return result


def _without(tree: JSON, taken: JSON) -> JSON:
    """A tree less the leaves of another; branches left empty go too."""
    result: JSON = {}
    for key, value in tree.items():
        if key not in taken or key == ".":
            result[key] = value
            continue
        rest = _without(value, taken[key])
        if value and taken[key] and (rest.keys() - {"."}):
            result[key] = rest
    return result


def _present(tree: JSON, obj: Any, path: tuple[str, ...] = ()) -> JSON:
    """The part of a tree whose fields still exist."""
    result: JSON = {}
    for key, value in tree.items():
        if key == ".":
            result[key] = value
            continue
        name = key if key.startswith("k:") else key.removeprefix("f:")
        if not isinstance(obj, dict) or name not in obj:
            continue
        deeper = path if key.startswith("k:") else (*path, name)
        keyed = _keyed(obj[name], deeper)
        rest = _present(value, keyed if keyed is not None else obj[name], deeper)
        if rest or not value:
            result[key] = rest
    return result


def record(
    before: JSON | None, after: JSON, *, manager: str, api_version: str, at: str, subresource: str = ""
) -> list[JSON]:
    """The managedFields of `after`, written by `manager` over `before`."""
    entries: list[JSON] = list(((before or {}).get("metadata") or {}).get("managedFields") or [])
    now = _tracked(after)
    fields = changed(_tracked(before) if before else {}, now)
    mine: JSON = {}
    kept: list[JSON] = []
    for entry in entries:
        same = (entry.get("manager"), entry.get("apiVersion"), entry.get("subresource", "")) == (
            manager,
            api_version,
            subresource,
        )
        if same:
            mine = entry.get("fieldsV1") or {}
            continue
        rest = _present(_without(entry.get("fieldsV1") or {}, fields), now)
        if rest:
            kept.append(entry if rest == entry.get("fieldsV1") else entry | {"fieldsV1": rest})
    tree = _present(_merged(mine, fields), now)
    if tree:
        entry = {
            "manager": manager,
            "operation": "Update",
            "apiVersion": api_version,
            "time": at,
            "fieldsType": "FieldsV1",
            "fieldsV1": tree,
        }
        if subresource:
            entry["subresource"] = subresource
        kept.append(entry)
    return kept
