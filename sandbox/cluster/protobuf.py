"""Reads the few protobuf bodies that kubectl insists on sending; everything else it sends as JSON.

The tables name the fields that those commands set. A body that uses any other field is refused,
never read in part.
"""

from __future__ import annotations

from typing import Any

from cortexops.domain.resource import JSON
from sandbox.cluster.errors import ApiError

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_KEPT_WHEN_ZERO = frozenset({"replicas", "gracePeriodSeconds"})

Fields = dict[int, tuple[str, str]]
"""Field number -> name and type: text, int, bool, map, a message's name; `[]` before it for a list."""

_MESSAGES: dict[str, Fields] = {
    "ObjectMeta": {
        1: ("name", "text"),
        2: ("generateName", "text"),
        3: ("namespace", "text"),
        5: ("uid", "text"),
        6: ("resourceVersion", "text"),
        11: ("labels", "map"),
        12: ("annotations", "map"),
        14: ("finalizers", "[]text"),
    },
    "Namespace": {1: ("metadata", "ObjectMeta")},
    "ServiceAccount": {1: ("metadata", "ObjectMeta")},
    "ConfigMap": {1: ("metadata", "ObjectMeta"), 2: ("data", "map"), 4: ("immutable", "bool")},
    "Eviction": {1: ("metadata", "ObjectMeta"), 2: ("deleteOptions", "DeleteOptions")},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "int"),
        2: ("preconditions", "Preconditions"),
        3: ("orphanDependents", "bool"),
        4: ("propagationPolicy", "text"),
        5: ("dryRun", "[]text"),
    },
    "Preconditions": {1: ("uid", "text"), 2: ("resourceVersion", "text")},
    "SelfSubjectAccessReview": {1: ("metadata", "ObjectMeta"), 2: ("spec", "SelfSubjectAccessReviewSpec")},
    "SelfSubjectAccessReviewSpec": {
        1: ("resourceAttributes", "ResourceAttributes"),
        2: ("nonResourceAttributes", "NonResourceAttributes"),
    },
    "ResourceAttributes": {
        1: ("namespace", "text"),
        2: ("verb", "text"),
        3: ("group", "text"),
        4: ("version", "text"),
        5: ("resource", "text"),
        6: ("subresource", "text"),
        7: ("name", "text"),
    },
    "NonResourceAttributes": {1: ("path", "text"), 2: ("verb", "text")},
    "SelfSubjectRulesReview": {1: ("metadata", "ObjectMeta"), 2: ("spec", "SelfSubjectRulesReviewSpec")},
    "SelfSubjectRulesReviewSpec": {1: ("namespace", "text")},
    "SelfSubjectReview": {1: ("metadata", "ObjectMeta")},
    "Deployment": {1: ("metadata", "ObjectMeta"), 2: ("spec", "DeploymentSpec")},
    "DeploymentSpec": {
        1: ("replicas", "int"),
        2: ("selector", "LabelSelector"),
        3: ("template", "PodTemplateSpec"),
    },
    "LabelSelector": {1: ("matchLabels", "map")},
    "PodTemplateSpec": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PodSpec")},
    "PodSpec": {2: ("containers", "[]Container"), 3: ("restartPolicy", "text")},
    "Container": {
        1: ("name", "text"),
        2: ("image", "text"),
        3: ("command", "[]text"),
        4: ("args", "[]text"),
        6: ("ports", "[]ContainerPort"),
    },
    "ContainerPort": {1: ("name", "text"), 3: ("containerPort", "int"), 4: ("protocol", "text")},
    "Unknown": {1: ("typeMeta", "TypeMeta"), 2: ("raw", "bytes")},
    "TypeMeta": {1: ("apiVersion", "text"), 2: ("kind", "text")},
}
_ROOTS = frozenset(
    {
        "Namespace",
        "ServiceAccount",
        "ConfigMap",
        "Eviction",
        "DeleteOptions",
        "Deployment",
        "SelfSubjectAccessReview",
        "SelfSubjectRulesReview",
        "SelfSubjectReview",
    }
)


class _Malformed(Exception):
    pass


def decode(data: bytes) -> JSON:
    """A body in Kubernetes' protobuf envelope. Raises `ApiError` (415)."""
    if not data.startswith(_MAGIC):
        raise _refusal("the body")
    try:
        envelope = _message("Unknown", data[len(_MAGIC) :])
        kind = str((envelope.get("typeMeta") or {}).get("kind") or "")
        if kind not in _ROOTS:
            raise _refusal(kind or "the body")
        return dict(envelope["typeMeta"]) | _message(kind, envelope.get("raw") or b"")
    except (_Malformed, IndexError, UnicodeDecodeError) as error:
        raise _refusal(f"this {error or 'body'}") from error


def _refusal(what: str) -> ApiError:
    message = (
        f"{what} in protobuf cannot be read by the simulated API server; "
        "write it as a file and use kubectl apply -f, which sends JSON"
    )
    return ApiError(415, "UnsupportedMediaType", message)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _Malformed("number")


def _entries(data: bytes) -> list[tuple[int, int | bytes]]:
    """Field numbers and raw values: an int, or the bytes of what has a length."""
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            found.append((number, value))
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise _Malformed("length")
            found.append((number, data[at : at + size]))
            at += size
        else:
            raise _Malformed("wire type")
    return found


def _message(name: str, data: bytes) -> JSON:
    fields = _MESSAGES[name]
    result: JSON = {}
    for number, raw in _entries(data):
        if number not in fields:
            if raw in (0, b"") or (isinstance(raw, bytes) and _is_empty(raw)):
                continue  # unset values are sent all the same
            raise _Malformed(f"{name} field {number}")
        field, kind = fields[number]
        value = _value(kind.removeprefix("[]"), raw)
        if kind.startswith("[]"):
            result.setdefault(field, []).append(value)
        elif kind == "map":
            result.setdefault(field, {}).update(value)
        elif value not in (0, "", False, {}) or (field in _KEPT_WHEN_ZERO and value == 0):
            result[field] = value
    return result


def _is_empty(data: bytes) -> bool:
    """Whether a message holds nothing but unset values."""
    try:
        return all(
            raw in (0, b"") or (isinstance(raw, bytes) and _is_empty(raw)) for _, raw in _entries(data)
        )
    except (_Malformed, IndexError):
        return False


def _value(kind: str, raw: int | bytes) -> Any:
    if kind in ("int", "bool"):
        if not isinstance(raw, int):
            raise _Malformed("number")
        if kind == "bool":
            return bool(raw)
        return raw - (1 << 64) if raw >> 63 else raw
    if not isinstance(raw, bytes):
        raise _Malformed("text")
    if kind == "text":
        return raw.decode()
    if kind == "bytes":
        return raw
    if kind == "map":
        pair = dict(_entries(raw))
        key, value = pair.get(1, b""), pair.get(2, b"")
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            raise _Malformed("map")
        return {key.decode(): value.decode()}
    return _message(kind, raw)
