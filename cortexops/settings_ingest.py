"""Settings of the way in: the bus, the gateway and the correlators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from cortexops.settings_section import Section


class NatsSettings(Section):
    """The bus."""

    url: str = Field(
        "nats://127.0.0.1:4222", description="server URLs, comma-separated; credentials may be in it"
    )
    stream: str = Field("TELEMETRY", description="stream of signals; parked ones go to <stream>_PARKED")
    max_bytes: int = Field(
        2 * 1024**3, description="stream limit in bytes; the oldest signals go first", gt=0
    )
    max_age_hours: float = Field(72, description="signals older than this leave the stream", gt=0)
    duplicate_window_seconds: float = Field(600, description="message-id deduplication in the stream", gt=0)
    replicas: int = Field(1, description="stream replicas; 3 in a NATS cluster", ge=1, le=5)
    partitions: int = Field(8, description="parts of the stream that correlators share out", ge=1, le=256)
    partition_by: Literal["cluster", "namespace"] = Field(
        "cluster", description="what is always in one partition: a cluster, or a namespace of one"
    )


class GatewaySettings(Section):
    """Where signals come in."""

    host: str = Field("127.0.0.1", description="address to listen on; off loopback a token is required")
    port: int = Field(8080, description="port", ge=0, le=65535)
    token: SecretStr | None = Field(None, description="bearer token that senders must show")
    max_body_bytes: int = Field(8 * 1024**2, description="larger bodies are answered 413", gt=0)
    default_cluster: str = Field(
        "default",
        description="cluster of alerts that carry no cluster label",
        pattern=r"^[A-Za-z0-9_-]{1,63}$",
    )
    source_secrets: dict[str, tuple[Annotated[SecretStr, Field(min_length=8)], ...]] = Field(
        {},
        description="by source: signing secrets or tokens that its senders must use instead of the token",
    )
    sns_certificates: tuple[Path, ...] = Field(
        (), description="PEM files of the certificates with which SNS signs; needs sns_topics"
    )
    sns_topics: tuple[str, ...] = Field((), description="ARNs of the topics whose signed messages are taken")

    @model_validator(mode="after")
    def _nothing_half_configured(self) -> GatewaySettings:
        for source, secrets in self.source_secrets.items():
            if not secrets:
                raise ValueError(f"source_secrets.{source} names no secret: give one, or leave {source} out")
        if self.sns_certificates and not self.sns_topics:
            raise ValueError("sns_certificates needs sns_topics: SNS signs for every customer of Amazon")
        return self


class CorrelatorSettings(Section):
    """How signals become incidents."""

    window_seconds: float = Field(5, description="how long a new group waits for more before it starts", ge=0)
    flush_severity: Literal["critical", "high", "medium", "low", "never"] = Field(
        "critical", description="signals this severe flush their group at once"
    )
    batch: int = Field(500, description="messages per fetch", ge=1, le=5000)
    cooldown_minutes: float = Field(10, description="silence of a key after its resolution", ge=0)
    lease_seconds: float = Field(15, description="a silent correlator's partitions pass on after this", ge=2)
    max_deliver: int = Field(5, description="a signal that fails this often is parked", ge=1)
