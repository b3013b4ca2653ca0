"""What a source is: one sort of payload turned into signals, bad parts set apart by name.

A source must have `recognises` and `parse`. It may besides have `fingerprint_from` (which payload fields make
its series, shown to people), `verify` (the sender's own signature, see `ingest.sources`) and `assemble` (for
payloads of which a part travels in HTTP headers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import KINDS, ResourceRef
from cortexops.domain.signal import (
    FateReason,
    Signal,
)

MOST_LABELS = 64
LONGEST_LABEL = 512
LONGEST_LABEL_NAME = 128
LARGEST_SIGNAL = 256 * 1024  # bytes of JSON; a signal is a notice, not an archive
MOST_ITEMS = 100_000  # of one body; more is no storm but a mistake
SKEW = timedelta(minutes=5)
"""How far a sender's clock may be ahead. What claims to begin later than that began when we heard of it."""
SKEW_LABEL = "cortexops_clock_skew_seconds"
TARGET_LABEL = "cortexops_target"
"""How the object was found of which the payload gave only an address."""
DEFAULT_FINGERPRINT = ("name", "resource", "container")
"""What a fingerprint is made of where the payload has no key of its own, besides source and cluster."""
_SUMMARY = 2000

_name = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9])?")
_namespace = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_kind = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_cluster = re.compile(r"[A-Za-z0-9_-]{1,63}")
# Besides the controls of ASCII and Latin-1: half surrogates, and what turns the direction of text around,
# with which a name could be made to read as another one to the person who approves.
_control = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One item that is no signal: which (from 0), what is wrong, and the item itself for whoever looks."""

    index: int
    field: str
    message: str
    raw: bytes
    reason: FateReason = FateReason.UNDECODABLE


class IgnoreReason(StrEnum):
    """Why a sound item is no signal."""

    ACKNOWLEDGED = "acknowledged"  # a person has seen it: it still fires
    UPDATE = "update"  # notes, owners, priorities: it neither began nor ended
    NO_DATA = "no_data"  # the monitoring itself cannot tell
    SILENCED = "silenced"  # people have silenced it where it comes from
    SUBSCRIPTION = "subscription"  # the sender asks whether it may send
    PING = "ping"  # the sender tries whether we answer


@dataclass(frozen=True, slots=True)
class Ignored:
    """One item that tells of nothing that began or ended. It is counted and answered for, and no signal.

    `raw` is there when a person must see it: it is then kept beside what was parked.
    """

    index: int
    reason: IgnoreReason
    detail: str = ""
    raw: bytes = b""


class Skip(NamedTuple):
    """What a reader of single items answers for one that is to be ignored."""

    reason: IgnoreReason
    detail: str = ""
    keep: bool = False  # it has something in it that a person must see


@dataclass(slots=True)
class ParseResult:
    """What became of each item of a payload: every one of them is in one of the three."""

    signals: list[Signal]
    rejected: list[Rejection]
    ignored: list[Ignored] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.signals) + len(self.rejected) + len(self.ignored)


class NoTarget(InvalidInput):
    """The item does not say which object it is about."""


class NoAnswer(NoTarget):
    """Nor could the cluster say so just now: it may when it is asked again."""


class Source(Protocol):
    """One sort of payload. One bad item never takes its neighbours with it."""

    def recognises(self, payload: Any) -> bool:
        """Whether a payload looks like this sort."""
        ...

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        """Sealed signals; `cluster` is that of items that name none. Raises `InvalidInput` only when the
        payload as a whole is of another sort."""
        ...


@runtime_checkable
class Assembles(Protocol):
    """A source of which a part of the payload may be in HTTP headers."""

    def assemble(self, headers: Mapping[str, str], document: Any) -> Any:
        """The payload as `parse` takes it. Header names are in lower case."""
        ...


def fingerprint_from(source: Source) -> tuple[str, ...]:
    """The payload fields that the source's fingerprints are made of, besides source and cluster."""
    declared: tuple[str, ...] = getattr(source, "fingerprint_from", DEFAULT_FINGERPRINT)
    return declared


# -- items ---------------------------------------------------------------------------------------------

OneItem = Callable[[Any, str, datetime], Signal | Skip]
"""Reads one item: (item, cluster of items that name none, now). Raises `InvalidInput`."""


def parse_items(items: Iterable[Any], one: OneItem, cluster: str, now: datetime) -> ParseResult:
    """Each item by itself. Raises `InvalidInput` when there are more than a body may hold."""
    if isinstance(items, list) and len(items) > MOST_ITEMS:
        raise InvalidInput("body", f"holds more than {MOST_ITEMS} items")
    result = ParseResult([], [])
    signals = result.signals
    for index, item in enumerate(items):
        try:
            found = one(item, cluster, now)
        except InvalidInput as error:
            result.rejected.append(rejection(index, error, raw_of(item)))
            continue
        if isinstance(found, Skip):
            kept = raw_of(item) if found.keep else b""
            result.ignored.append(Ignored(index, found.reason, found.detail, kept))
        else:
            signals.append(found)
    return result


def rejection(index: int, error: InvalidInput, raw: bytes) -> Rejection:
    reason = FateReason.NO_TARGET if isinstance(error, NoTarget) else FateReason.UNDECODABLE
    message = str(error).removeprefix(f"{error.field}: ")
    return Rejection(index, one_line(error.field, 200) or "body", clean(message, 500), raw, reason)


def raw_of(item: Any) -> bytes:
    """The item as JSON, for whoever looks at what was parked."""
    try:
        return msgspec.json.encode(item)
    except (RecursionError, UnicodeEncodeError):
        return b'"(too deeply nested, or not text: cannot be kept)"'


def table(value: Any, where: str) -> dict[str, Any]:
    """The object at this place, an empty one when it is absent. Raises `InvalidInput`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(where, "must be an object")
    return value


# -- objects -------------------------------------------------------------------------------------------


class _Fault(NamedTuple):
    part: str
    message: str
    error: type[InvalidInput] = InvalidInput


def check_resource(resource: ResourceRef, field: str = "resource") -> ResourceRef:
    """The reference, if an API server could hold such an object. Raises `InvalidInput` or `NoTarget`."""
    fault = _fault(resource.cluster, resource.kind, resource.namespace, resource.name)
    if fault is not None:
        raise fault.error(f"{field}.{fault.part}", fault.message)
    return resource


def reference(cluster: str, kind: str, namespace: str, name: str, field: str) -> ResourceRef:
    """A reference that `check_resource` would let pass. Raises `InvalidInput` or `NoTarget`."""
    found = _reference(cluster, kind, namespace, name)
    if isinstance(found, _Fault):
        raise found.error(f"{field}.{found.part}", found.message)
    return found


@lru_cache(8192)  # the same objects complain again and again
def _reference(cluster: str, kind: str, namespace: str, name: str) -> ResourceRef | _Fault:
    fault = _fault(cluster, kind, namespace, name)
    return fault or ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name)


@lru_cache(8192)
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


@lru_cache(1024)
def _is_cluster(value: str) -> bool:
    return _cluster.fullmatch(value) is not None


def cluster_name(value: str, field: str) -> str:
    """Raises `InvalidInput` for what cannot name a cluster."""
    if not _is_cluster(value):
        raise InvalidInput(field, "may hold letters, digits, - and _ only, at most 63")
    return value


def check_signal(signal: Signal) -> Signal:
    """The signal, if its object, times and size are sound. Raises `InvalidInput` or `NoTarget`."""
    check_resource(signal.resource)
    if signal.resource.cluster != signal.cluster:
        raise InvalidInput("resource.cluster", "is not the cluster of the signal")
    if signal.started_at < EARLIEST:
        raise InvalidInput("started_at", "is missing or before the year 2000")
    return signal


# -- times ---------------------------------------------------------------------------------------------


@lru_cache(8192)  # alerts of one rule begin together
def _moment(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_time(value: Any, field: str) -> datetime:
    """RFC 3339 with any number of fractional digits. Raises `InvalidInput`."""
    moment = _moment(value) if isinstance(value, str) and len(value) <= 64 else None
    if moment is None:
        raise InvalidInput(field, "must be an RFC 3339 time")
    return moment


def some_time(value: Any, field: str) -> datetime | None:
    """Like `parse_time`; absent and the year 1, which stands for absent in Go's JSON, are None."""
    if not value or (isinstance(value, str) and value.startswith("0001-01-01")):
        return None
    return parse_time(value, field)


def epoch_time(value: Any, field: str) -> datetime | None:
    """A Unix time in seconds, milliseconds, micro- or nanoseconds, told apart by their size, or RFC 3339.

    None when it is absent or zero. Raises `InvalidInput`.
    """
    if isinstance(value, bool):
        raise InvalidInput(field, "must be a time")
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,9})?", value):
            return some_time(value, field)
        value = float(value)
    if not value:
        return None
    if not isinstance(value, int | float) or not 0 < value < 1e19:
        raise InvalidInput(field, "must be a Unix time")
    seconds = value
    while seconds >= 1e11:  # the year 5138 in seconds, 1973 in milliseconds
        seconds /= 1000
    return datetime.fromtimestamp(seconds, UTC)


# -- text ----------------------------------------------------------------------------------------------


def clean(text: Any, most: int) -> str:
    """Text without control characters (a database takes no NUL) and of bounded length. Lines stay lines."""
    words = str(text)[: most * 2]
    return (words if words.isprintable() else _control.sub("", words))[:most]


def one_line(text: Any, most: int) -> str:
    """Like `clean`, and white space of any sort is one space: for names and labels."""
    words = text_of(text)[: most * 2]
    if not words.isprintable():
        words = " ".join(_control.sub("", words).split())
    return words[:most].strip()


def text_of(value: Any) -> str:
    """A scalar as text, "" for anything else: what is nested has no place in a label."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)[:_SUMMARY] if abs(value) < 1e300 else ""
    return ""


def clean_labels(value: Any, field: str) -> dict[str, str]:
    """All labels, as text without control characters and of bounded length each; None is no labels.

    Raises `InvalidInput` for what is no object of texts and numbers.
    """
    labels = table(value, field)
    if not labels:
        return labels
    try:  # nearly always there is nothing to mend, and looking at all of it at once costs least
        names, texts = "".join(labels), "".join(labels.values())
        if (
            names.isprintable()
            and texts.isprintable()
            and (len(names) <= LONGEST_LABEL_NAME or max(map(len, labels)) <= LONGEST_LABEL_NAME)
            and (len(texts) <= LONGEST_LABEL or max(map(len, labels.values())) <= LONGEST_LABEL)
        ):
            return labels
    except TypeError:
        pass
    mended: dict[str, str] = {}
    for name, text in labels.items():
        if isinstance(text, dict | list):
            raise InvalidInput(f"{field}.{one_line(name, LONGEST_LABEL_NAME)}", "must be text")
        mended[one_line(name, LONGEST_LABEL_NAME)] = one_line(text, LONGEST_LABEL)
    mended.pop("", None)
    return mended


def bounded_labels(labels: Mapping[str, Any]) -> dict[str, str]:
    """At most 64 labels of at most 512 characters; the first by name are kept."""
    names = sorted(labels)[:MOST_LABELS] if len(labels) > MOST_LABELS else labels
    return {one_line(name, LONGEST_LABEL_NAME): one_line(labels[name], LONGEST_LABEL) for name in names}


def summary_text(value: Any) -> str:
    return clean(text_of(value), _SUMMARY)
