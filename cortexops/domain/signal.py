"""Signal: anything that telemetry tells us about one object, in one schema whatever its source."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import Frozen, ResourceRef

SCHEMA: Literal["cortexops.signal/v1"] = "cortexops.signal/v1"
_SOURCE = r"^[a-z0-9_]{1,63}$"
_CLUSTER = r"^[A-Za-z0-9_-]{1,63}$"
_LONGEST_NAME = 253  # characters
_LONGEST_SUMMARY = 2000


class _Word(StrEnum):
    """A word that is the key of many tables: hashed as the text that it equals, which a storm feels."""

    __hash__ = str.__hash__


class Severity(_Word):
    """How bad it is, worst first in `rank`."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for low to 3 for critical."""
        return _RANKS[self]

    @classmethod
    def worst(cls, severities: list[Severity]) -> Severity:
        return max(severities, key=lambda severity: severity.rank)


_RANKS = {severity: 3 - place for place, severity in enumerate(Severity)}


class SignalStatus(_Word):
    FIRING = "firing"
    RESOLVED = "resolved"


class SignalType(_Word):
    """What kind of trouble a signal reports, as far as its name tells."""

    OOM_KILL = "oom_kill"
    MEMORY_HIGH = "memory_high"
    CPU_HIGH = "cpu_high"
    CRASH_LOOP = "crash_loop"
    IMAGE_PULL = "image_pull"
    PROBE_FAILURE = "probe_failure"
    ROLLOUT_STUCK = "rollout_stuck"
    REPLICAS_MISSING = "replicas_missing"
    NODE_NOT_READY = "node_not_ready"
    SCHEDULING = "scheduling"
    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    OTHER = "other"


class Signal(Frozen):
    """One report about one object. `id` is content-addressed: the same report has the same id for ever.

    `fingerprint` names the series (which alert on which object); `id` names one firing of it. Both come
    from structured fields, never from prose. Times are the source's own; `received_at` is ours and takes
    part in no id.
    """

    schema_: Literal["cortexops.signal/v1"] = Field(default=SCHEMA, alias="schema")
    id: str = ""
    source: str = Field(pattern=_SOURCE)
    cluster: str = Field(pattern=_CLUSTER)
    status: SignalStatus = SignalStatus.FIRING
    name: str = Field(min_length=1, max_length=_LONGEST_NAME)
    type: SignalType = SignalType.OTHER
    severity: Severity = Severity.MEDIUM
    resource: ResourceRef
    summary: str = Field(default="", max_length=_LONGEST_SUMMARY)
    labels: dict[str, str] = Field(default_factory=dict)
    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    received_at: AwareDatetime | None = None
    fingerprint: str = ""
    drill: bool = False

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    @property
    def fingerprint_fields(self) -> dict[str, str]:
        """What the fingerprint is made of, to be shown to people who ask why two signals were one."""
        return {
            "source": self.source,
            "cluster": self.cluster,
            "name": self.name,
            "resource": self.resource.key,
            "container": self.labels.get("container", ""),
        }

    def sealed(self) -> Signal:
        """The same signal with its fingerprint and id computed. A fingerprint that is there stays; whatever
        was claimed for the id is replaced."""
        fingerprint, id_ = seal(
            self.source, self.cluster, self.name, self.resource.key, self.labels.get("container", ""),
            self.fingerprint, self.status, self.started_at,
        )  # fmt: skip
        return self.model_copy(update={"fingerprint": fingerprint, "id": id_})


def seal(
    source: str,
    cluster: str,
    name: str,
    resource: str,
    container: str,
    fingerprint: str,
    status: SignalStatus,
    started_at: datetime,
) -> tuple[str, str]:
    """(fingerprint, id) of a signal with these `fingerprint_fields`; a given fingerprint stays."""
    # Lengths keep the fields apart whatever they hold; hashing text is several times as fast as JSON.
    text = (
        f"{len(source)}:{source}{len(cluster)}:{cluster}{len(name)}:{name}"
        f"{len(resource)}:{resource}{len(container)}:{container}"
    )
    fingerprint = fingerprint or sha256(text.encode()).hexdigest()[:16]
    firing = f"{text}{len(fingerprint)}:{fingerprint}{status}{started_at.timestamp()!r}"
    return fingerprint, sha256(firing.encode()).hexdigest()[:32]


def sealed_signal(
    *,
    source: str,
    name: str,
    resource: ResourceRef,
    status: SignalStatus,
    labels: dict[str, str],
    started_at: datetime,
    fingerprint: str = "",
    type: SignalType = SignalType.OTHER,
    severity: Severity = Severity.MEDIUM,
    summary: str = "",
    ended_at: datetime | None = None,
    received_at: datetime | None = None,
    drill: bool = False,
) -> Signal:
    """A sealed signal, built once; its cluster is the resource's. Raises `ValidationError`."""
    cluster = resource.cluster
    fingerprint, id_ = seal(
        source, cluster, name, resource.key, labels.get("container", ""), fingerprint, status, started_at
    )
    fields: dict[str, Any] = {
        "schema_": SCHEMA,
        "id": id_,
        "source": source,
        "cluster": cluster,
        "status": status,
        "name": name,
        "type": type,
        "severity": severity,
        "resource": resource,
        "summary": summary,
        "labels": labels,
        "started_at": started_at,
        "ended_at": ended_at,
        "received_at": received_at,
        "fingerprint": fingerprint,
        "drill": drill,
    }
    sound = 0 < len(name) <= _LONGEST_NAME and len(summary) <= _LONGEST_SUMMARY and _named(source, cluster)
    if sound and _aware(started_at) and _aware(ended_at) and _aware(received_at):
        return _built(fields)
    return Signal(**fields)


def _built(fields: dict[str, Any]) -> Signal:
    """A signal of fields that have the types and bounds of the model, put in place without asking it again:
    a sixth of the time, and in a storm making signals is the gateway's largest single cost."""
    signal = Signal.__new__(Signal)
    _put(signal, "__dict__", fields)
    _put(signal, "__pydantic_fields_set__", _FIELDS)
    _put(signal, "__pydantic_extra__", None)
    _put(signal, "__pydantic_private__", None)
    return signal


_put = object.__setattr__
_FIELDS = set(Signal.model_fields)


@lru_cache(1024)
def _named(source: str, cluster: str) -> bool:
    return bool(re.fullmatch(_SOURCE, source) and re.fullmatch(_CLUSTER, cluster))


def _aware(time: datetime | None) -> bool:
    return time is None or time.tzinfo is not None


class SignalFate(_Word):
    """What became of a signal. Every ingested signal has exactly one fate in the end."""

    STARTED = "started"
    MERGED = "merged"
    SUPPRESSED = "suppressed"
    DROPPED = "dropped"
    PARKED = "parked"


class FateReason(_Word):
    """Why a signal has its fate."""

    NEW_INCIDENT = "new_incident"
    OPEN_INCIDENT = "open_incident"
    SAME_WINDOW = "same_window"
    DUPLICATE = "duplicate"
    COOLDOWN = "cooldown"
    HANDED_OVER = "handed_over"
    SAME_NODE = "same_node"
    SAME_ROLLOUT = "same_rollout"
    SAME_CONFIG = "same_config"
    SHARED_DEPENDENCY = "shared_dependency"
    NAMESPACE_WIDE = "namespace_wide"
    RESOLVED_UNKNOWN = "resolved_without_open_incident"
    STREAM_LIMIT = "stream_limit"
    UNDECODABLE = "undecodable"
    NO_TARGET = "no_target"
    KEEPS_FAILING = "keeps_failing"


_NAME_HINTS: tuple[tuple[tuple[str, ...], SignalType], ...] = (  # what is unavailable alone may be a whole site
    (("oom",), SignalType.OOM_KILL),
    (("crashloop", "crash_loop", "backoff restarting"), SignalType.CRASH_LOOP),
    (("imagepull", "image_pull", "errimage"), SignalType.IMAGE_PULL),
    (("unhealthy", "probe", "notready pod", "podnotready"), SignalType.PROBE_FAILURE),
    (("nodenotready", "node_not_ready", "nodeunreachable", "kubelettarget"), SignalType.NODE_NOT_READY),
    (("rollout", "generationmismatch", "progressdeadline"), SignalType.ROLLOUT_STUCK),
    (
        ("replicasmismatch", "replicas_mismatch", "replicasunavailable", "replicas_unavailable",
         "unavailablereplicas", "unavailable_replicas", "podsunavailable", "pods_unavailable",
         "deploymentunavailable", "statefulsetunavailable", "daemonsetunavailable", "workloadunavailable"),
        SignalType.REPLICAS_MISSING,
    ),
    (("failedscheduling", "unschedulable", "pending"), SignalType.SCHEDULING),
    (("memory",), SignalType.MEMORY_HIGH),
    (("cputhrottling", "cpu"), SignalType.CPU_HIGH),
    (("errorrate", "error_rate", "5xx", "http_errors"), SignalType.ERROR_RATE),
    (("latency", "slow"), SignalType.LATENCY),
)  # fmt: skip


@lru_cache(4096)
def signal_type(name: str) -> SignalType:
    """The type that an alert's or event's name suggests; a hint for titles and risk, never a diagnosis."""
    lowered = name.lower()
    for needles, kind in _NAME_HINTS:
        if any(needle in lowered for needle in needles):
            return kind
    return SignalType.OTHER


_SEVERITY_WORDS = {
    "critical": Severity.CRITICAL, "page": Severity.CRITICAL, "emergency": Severity.CRITICAL,
    "p1": Severity.CRITICAL, "sev1": Severity.CRITICAL, "fatal": Severity.CRITICAL,
    "high": Severity.HIGH, "error": Severity.HIGH, "major": Severity.HIGH, "p2": Severity.HIGH,
    "sev2": Severity.HIGH, "warning": Severity.MEDIUM, "warn": Severity.MEDIUM, "medium": Severity.MEDIUM,
    "minor": Severity.MEDIUM, "p3": Severity.MEDIUM, "low": Severity.LOW, "info": Severity.LOW,
    "none": Severity.LOW, "p4": Severity.LOW, "p5": Severity.LOW,
}  # fmt: skip


def severity_from_word(word: str, default: Severity = Severity.MEDIUM) -> Severity:
    """The severity behind the words that the field uses."""
    return _SEVERITY_WORDS.get(word.strip().lower(), default)


def parse_signal(raw: bytes | str) -> Signal:
    """Decode one `cortexops.signal/v1` document. Raises `InvalidInput` naming the first wrong field."""
    try:
        return Signal.model_validate_json(raw)
    except ValidationError as error:
        raise invalid_input(error) from None


def invalid_input(error: ValidationError, prefix: str = "") -> InvalidInput:
    """The first complaint of a validation, as an error that names the field but repeats no value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = ".".join(str(part) for part in first["loc"]) or "body"
    return InvalidInput(f"{prefix}.{path}" if prefix else path, first["msg"])


def window_of(signals: list[Signal]) -> tuple[datetime, datetime]:
    """When the first of these signals began and the last did."""
    times = [signal.started_at for signal in signals]
    return min(times), max(times)
