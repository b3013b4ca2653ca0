"""The streams as we want them, and the subjects in them.

Anybody publishes to `telemetry.<cluster>.<source>`. The server appends the partition's number, so that what
any program sends about one cluster is in one partition. With partitions by namespace our own publishers
append the number themselves; what other programs send is then divided by cluster alone.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
    SubjectTransform,
)
from nats.js.errors import NotFoundError

from cortexops.domain.signal import Signal
from cortexops.settings_ingest import NatsSettings

_PARKED_BYTES = 256 * 1024**2
_PARKED_SHARE = 4  # parked messages take at most a quarter of the stream's limit
_PARKED_SECONDS = 30 * 24 * 3600
_KEPT_UP_TO_DATE = (
    "subjects",
    "max_bytes",
    "max_age",
    "duplicate_window",
    "num_replicas",
    "subject_transform",
)
_unfit = re.compile(r"[^A-Za-z0-9_-]")


def subject_of(signal: Signal, settings: NatsSettings | None = None) -> str:
    """`telemetry.<cluster>.<source>`; what a subject cannot hold becomes an underscore."""
    subject = f"telemetry.{token(signal.cluster)}.{token(signal.source)}"
    if settings is None or settings.partition_by == "cluster":
        return subject
    place = f"{signal.cluster}/{signal.resource.namespace}"
    return f"{subject}.{zlib.crc32(place.encode()) % settings.partitions}"


def token(text: str) -> str:
    """The text as one part of a subject."""
    return _unfit.sub("_", text) or "unknown"


def filter_of(partition: int) -> str:
    """The subjects of one partition, as the stream stores them."""
    return f"telemetry.*.*.{partition}"


def parked_name(settings: NatsSettings) -> str:
    return f"{settings.stream}_PARKED"


def telemetry(settings: NatsSettings) -> StreamConfig:
    """The oldest goes first when the stream is full: fresh telemetry is worth more than old."""
    return StreamConfig(
        name=settings.stream,
        subjects=["telemetry.*.*", "telemetry.*.*.*"],
        subject_transform=SubjectTransform(
            src="telemetry.*.*",
            dest=f"telemetry.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.{{{{partition({settings.partitions},1)}}}}",
        ),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_bytes=settings.max_bytes,
        max_age=settings.max_age_hours * 3600,
        duplicate_window=settings.duplicate_window_seconds,
        num_replicas=settings.replicas,
    )


def parked(settings: NatsSettings) -> StreamConfig:
    return StreamConfig(
        name=parked_name(settings),
        subjects=["parked.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_bytes=min(_PARKED_BYTES, max(settings.max_bytes // _PARKED_SHARE, 1024**2)),
        max_age=_PARKED_SECONDS,
        num_replicas=settings.replicas,
    )


async def ensure(jetstream: JetStreamContext, config: StreamConfig) -> None:
    """Create the stream, or bring an existing one up to date."""
    try:
        present: StreamInfo = await jetstream.stream_info(str(config.name))
    except NotFoundError:
        await jetstream.add_stream(config)
        return
    wanted: dict[str, Any] = {field: getattr(config, field) for field in _KEPT_UP_TO_DATE}
    wanted = {field: value for field, value in wanted.items() if value}
    if any(getattr(present.config, field) != value for field, value in wanted.items()):
        await jetstream.update_stream(present.config.evolve(**wanted))
