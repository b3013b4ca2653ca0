"""What a source is: one sort of payload turned into signals, bad parts set apart by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import KINDS, ResourceRef
from cortexops.domain.signal import FateReason, Signal

MOST_LABELS = 64
LONGEST_LABEL = 512
LARGEST_SIGNAL = 256 * 1024  # bytes of JSON; a signal is a notice, not an archive
_SUMMARY = 2000

_name = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9])?")
_namespace = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_kind = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_cluster = re.compile(r"[A-Za-z0-9_-]{1,63}")
_fraction = re.compile(r"(\.\d{6})\d+")
_control = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Rejection:
    """One item that is no signal: which (from 0), what is wrong, and the item itself for whoever looks."""

    index: int
    field: str
    message: str
    raw: bytes
    reason: FateReason = FateReason.UNDECODABLE


class ParseResult(NamedTuple):
    signals: list[Signal]
    rejected: list[Rejection]

    @property
    def size(self) -> int:
        return len(self.signals) + len(self.rejected)


class NoTarget(InvalidInput):
    """The item does not say which object it is about."""


class Source(Protocol):
    """One sort of payload. One bad item never takes its neighbours with it."""

    def recognises(self, payload: Any) -> bool:
        """Whether a payload looks like this sort."""
        ...

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        """Sealed signals; `cluster` is that of items that name none. Raises `InvalidInput` only when the
        payload as a whole is of another sort."""
        ...


def rejection(index: int, error: InvalidInput, raw: bytes) -> Rejection:
    reason = FateReason.NO_TARGET if isinstance(error, NoTarget) else FateReason.UNDECODABLE
    message = str(error).removeprefix(f"{error.field}: ")
    return Rejection(index, error.field, message, raw, reason)


def check_resource(resource: ResourceRef, field: str = "resource") -> ResourceRef:
    """The reference, if an API server could hold such an object. Raises `InvalidInput` or `NoTarget`."""
    fault = _fault(resource.cluster, resource.kind, resource.namespace, resource.name)
    if fault is not None:
        raise fault.error(f"{field}.{fault.part}", fault.message)
    return resource


class _Fault(NamedTuple):
    part: str
    message: str
    error: type[InvalidInput] = InvalidInput


@lru_cache(8192)  # the same objects complain again and again
def _fault(cluster: str, kind: str, namespace: str, name: str) -> _Fault | None:
    if not _kind.fullmatch(kind):
        return _Fault("kind", "is not a Kubernetes kind")
    if not _name.fullmatch(name):
        return _Fault("name", "is not a Kubernetes name")
    if not _cluster.fullmatch(cluster):
        return _Fault("cluster", "may hold letters, digits, - and _ only, at most 63")
    known = KINDS.get(kind)
    if known is not None and known.namespaced and not namespace:
        return _Fault("namespace", f"{kind} needs a namespace", NoTarget)
    if known is not None and not known.namespaced and namespace:
        return _Fault("namespace", f"{kind} has no namespace")
    if namespace and not _namespace.fullmatch(namespace):
        return _Fault("namespace", "is not a Kubernetes namespace")
    return None


def check_signal(signal: Signal) -> Signal:
    """The signal, if its object, times and size are sound. Raises `InvalidInput` or `NoTarget`."""
    check_resource(signal.resource)
    if signal.resource.cluster != signal.cluster:
        raise InvalidInput("resource.cluster", "is not the cluster of the signal")
    if signal.started_at < _EARLIEST:
        raise InvalidInput("started_at", "is missing or before the year 2000")
    return signal


def cluster_name(value: str, field: str) -> str:
    if not _cluster.fullmatch(value):
        raise InvalidInput(field, "may hold letters, digits, - and _ only, at most 63")
    return value


def parse_time(value: Any, field: str) -> datetime:
    """RFC 3339 with any number of fractional digits. Raises `InvalidInput`."""
    if not isinstance(value, str):
        raise InvalidInput(field, "must be an RFC 3339 time")
    try:
        moment = datetime.fromisoformat(_fraction.sub(r"\1", value))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(field, "must be an RFC 3339 time") from None
    return moment


def some_time(value: Any, field: str) -> datetime | None:
    """Like `parse_time`; absent and the year 1, which stands for absent in Go's JSON, are None."""
    if not value or (isinstance(value, str) and value.startswith("0001-01-01")):
        return None
    return parse_time(value, field)


def clean(text: Any, most: int) -> str:
    """Text without control characters (a database takes no NUL) and of bounded length."""
    words = str(text)[: most * 2]
    return (words if words.isprintable() else _control.sub("", words))[:most]


def bounded_labels(labels: Mapping[str, Any]) -> dict[str, str]:
    """At most 64 labels of at most 512 characters; the first by name are kept."""
    names = sorted(labels) if len(labels) > MOST_LABELS else labels
    return {
        clean(name, 128): clean(labels[name], LONGEST_LABEL)
        for name, _ in zip(names, range(MOST_LABELS), strict=False)
    }


def summary_text(value: Any) -> str:
    return clean(value or "", _SUMMARY)
