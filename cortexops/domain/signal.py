"""Signal: anything that telemetry tells us about one object, in one schema whatever its source."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import Frozen, ResourceRef

SCHEMA: Literal["cortexops.signal/v1"] = "cortexops.signal/v1"


class Severity(StrEnum):
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


class SignalStatus(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


class SignalType(StrEnum):
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
    source: str = Field(min_length=1, max_length=63, pattern=r"^[a-z0-9_]+$")
    cluster: str = Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_-]+$")
    status: SignalStatus = SignalStatus.FIRING
    name: str = Field(min_length=1, max_length=253)
    type: SignalType = SignalType.OTHER
    severity: Severity = Severity.MEDIUM
    resource: ResourceRef
    summary: str = Field(default="", max_length=2000)
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
    **more: Any,
) -> Signal:
    """A sealed signal, built once; its cluster is the resource's. Raises `ValidationError`."""
    container = labels.get("container", "")
    fingerprint, id_ = seal(
        source, resource.cluster, name, resource.key, container, fingerprint, status, started_at
    )
    return Signal(
        id=id_,
        source=source,
        cluster=resource.cluster,
        status=status,
        name=name,
        resource=resource,
        labels=labels,
        started_at=started_at,
        fingerprint=fingerprint,
        **more,
    )


class SignalFate(StrEnum):
    """What became of a signal. Every ingested signal has exactly one fate in the end."""

    STARTED = "started"
    MERGED = "merged"
    SUPPRESSED = "suppressed"
    DROPPED = "dropped"
    PARKED = "parked"


class FateReason(StrEnum):
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


_NAME_HINTS: tuple[tuple[tuple[str, ...], SignalType], ...] = (
    (("oom",), SignalType.OOM_KILL),
    (("crashloop", "crash_loop", "backoff restarting"), SignalType.CRASH_LOOP),
    (("imagepull", "image_pull", "errimage"), SignalType.IMAGE_PULL),
    (("unhealthy", "probe", "notready pod", "podnotready"), SignalType.PROBE_FAILURE),
    (("nodenotready", "node_not_ready", "nodeunreachable", "kubelettarget"), SignalType.NODE_NOT_READY),
    (("rollout", "generationmismatch", "progressdeadline"), SignalType.ROLLOUT_STUCK),
    (("replicasmismatch", "replicas_mismatch", "unavailable"), SignalType.REPLICAS_MISSING),
    (("failedscheduling", "unschedulable", "pending"), SignalType.SCHEDULING),
    (("memory",), SignalType.MEMORY_HIGH),
    (("cputhrottling", "cpu"), SignalType.CPU_HIGH),
    (("errorrate", "error_rate", "5xx", "http_errors"), SignalType.ERROR_RATE),
    (("latency", "slow"), SignalType.LATENCY),
)


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
