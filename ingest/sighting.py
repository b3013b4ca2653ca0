"""A signal on the hot path: checked, and no more of it unpacked than correlating needs.

A storm passes here. So documents are decoded by a compiled schema; what that does not accept is given to the
full model, which accepts it after all or says which field is wrong. The text itself is kept as it came, to be
stored with the signal's fate and to be read again by the few that reach a workflow.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cortexops.domain.causes import Sign
from cortexops.domain.errors import InvalidInput
from cortexops.domain.kubernetes.refusals import Refuser, refusal
from cortexops.domain.resource import ResourceRef, reference
from cortexops.domain.signal import Severity, SignalStatus, SignalType
from ingest.decode import decode_signal
from ingest.source import LARGEST_SIGNAL, check_resource

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_escaped = re.compile(r"\\[ubfnrt]")
"""Escapes, perhaps of control characters; what holds one is cleaned by the full model."""


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """What the correlator keeps of one signal."""

    id: str
    fingerprint: str
    status: SignalStatus
    severity: Severity
    resource: ResourceRef
    started_at: float  # Unix time
    source: str
    sign: Sign
    node: str  # on which a pod runs, where the labels say so
    text: str  # the document


class _Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    cluster: str
    kind: str
    name: str
    namespace: str = ""


_Time = Annotated[datetime, Meta(tz=True)]


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`cortexops.signal/v1` as our own gateway writes it. Never looser than `Signal`; a test compares."""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    source: Annotated[str, Meta(pattern="^[a-z0-9_]{1,63}$")]
    cluster: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,63}$")]
    name: Annotated[str, Meta(min_length=1, max_length=253)]
    resource: _Place
    started_at: _Time
    fingerprint: Annotated[str, Meta(min_length=1)]
    schema: Literal["cortexops.signal/v1"] = "cortexops.signal/v1"
    status: SignalStatus = SignalStatus.FIRING
    type: SignalType = SignalType.OTHER
    severity: Severity = Severity.MEDIUM
    summary: Annotated[str, Meta(max_length=2000)] = ""
    labels: dict[str, str] = {}
    ended_at: _Time | None = None
    received_at: _Time | None = None
    drill: bool = False


_decode = msgspec.json.Decoder(Wire).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A sighting with its labels, which only finding its owner needs."""

    sighting: Sighting
    labels: dict[str, str]

    @property
    def resource(self) -> ResourceRef:
        return self.sighting.resource


def documents(data: bytes) -> list[bytes]:
    """The documents of one message: itself, or the elements of the array that it is.

    Raises `InvalidInput` when an array does not end.
    """
    if data[:1] != b"[":
        return [data]
    try:
        return [bytes(part) for part in _split(data)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput("body", f"is not JSON: {error}") from None


def see(document: bytes) -> Seen:
    """One document, checked. Raises `InvalidInput` for what cannot be processed, naming the field."""
    if len(document) > LARGEST_SIGNAL * 2:
        raise InvalidInput("body", "is too large")
    try:
        wire = _decode(document)
        text = document.decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _unusual(document)
    if not _is_plain(document, text):
        return _unusual(document)
    place = wire.resource
    resource = _reference(place.cluster, place.kind, place.namespace, place.name)
    if place.cluster != wire.cluster:
        raise InvalidInput("resource.cluster", "is not the cluster of the signal")
    started = wire.started_at.timestamp()
    if started < _EARLIEST:
        raise InvalidInput("started_at", "is missing or before the year 2000")
    sighting = Sighting(
        wire.id,
        wire.fingerprint,
        wire.status,
        wire.severity,
        resource,
        started,
        wire.source,
        _sign(wire.type, _pod(resource), obstacle_of(wire.name, wire.summary)),
        _node(resource, wire.labels),
        text,
    )
    return Seen(sighting, wire.labels)


def _is_plain(document: bytes, text: str) -> bool:
    """Whether no character in it needs cleaning. JSON has no bare control characters in its strings but DEL,
    so that plain ASCII, which most are, is told at the speed of memory."""
    clean = b"\x7f" not in document if document.isascii() else text.isprintable()
    return clean and not (b"\\" in document and _escaped.search(text))


def _unusual(document: bytes) -> Seen:
    """By the full model: another spelling of the schema, or an error that names the field."""
    signal = decode_signal(document)
    sighting = Sighting(
        signal.id,
        signal.fingerprint,
        signal.status,
        signal.severity,
        signal.resource,
        signal.started_at.timestamp(),
        signal.source,
        _sign(signal.type, _pod(signal.resource), obstacle_of(signal.name, signal.summary)),
        _node(signal.resource, signal.labels),
        signal.model_dump_json(),
    )
    return Seen(sighting, signal.labels)


@lru_cache(20_000)  # the same objects complain again and again
def _reference(cluster: str, kind: str, namespace: str, name: str) -> ResourceRef:
    return check_resource(reference(cluster, kind, namespace, name))


@lru_cache(20_000)
def _sign(type: SignalType, pod: str, obstacle: str) -> Sign:
    return Sign(type, pod, obstacle)


def _pod(resource: ResourceRef) -> str:
    return resource.name if resource.kind == "Pod" else ""


def _node(resource: ResourceRef, labels: dict[str, str]) -> str:
    return labels.get("node", "") if resource.kind == "Pod" else ""


_OBSTACLES = {
    Refuser.QUOTA: "quota",
    Refuser.WEBHOOK_UNREACHABLE: "webhook",
    Refuser.WEBHOOK_DENIED: "webhook",
}
_obstacle = re.compile(r"[a-z0-9.-]{1,253}")


def obstacle_of(name: str, text: str) -> str:
    """What keeps a controller from making pods, as the API server words it in its own events
    (`FailedCreate`): a quota or an admission webhook, as `quota/<name>` or `webhook/<name>`; else empty."""
    if name != "FailedCreate":
        return ""
    found = refusal(text)
    kind = _OBSTACLES.get(found.by)
    return f"{kind}/{found.name}" if kind and _obstacle.fullmatch(found.name) else ""
