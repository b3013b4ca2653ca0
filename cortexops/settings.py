"""Settings: one frozen tree, read once at process start, from `CORTEXOPS_*` and one YAML file.

`CORTEXOPS_CONFIG` names the file. A variable beats the file; nesting is written with two underscores
(`CORTEXOPS_GATEWAY__PORT`). An unknown field in the file is an error. Every field is documented here
and in docs/operations.md, which a test compares.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import invalid_input


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TemporalSettings(Section):
    """The workflow engine."""

    address: str = Field("127.0.0.1:7233", description="host:port of the Temporal frontend")
    namespace: str = Field("default", description="Temporal namespace")
    api_key: SecretStr | None = Field(None, description="API key, for Temporal Cloud")
    tls: bool = Field(False, description="connect with TLS")
    ui_url: str = Field("", description="Temporal UI, for links in messages")


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


class PostgresSettings(Section):
    """The database."""

    dsn: SecretStr = Field(
        SecretStr("postgresql+psycopg://cortexops@127.0.0.1:5432/cortexops"),
        description="SQLAlchemy URL with the psycopg driver",
    )
    pool_size: int = Field(5, description="connections per process", ge=1, le=100)


class PolicySettings(Section):
    """Who decides."""

    engine: Literal["regorus", "opa"] = Field("regorus", description="in process, or an OPA server")
    path: Path | None = Field(None, description="folder of the bundle; the shipped pack when absent")
    data: Path | None = Field(
        None, description="JSON file laid over the bundle's data.json, for engine regorus"
    )
    opa_url: str = Field("http://127.0.0.1:8181", description="OPA server, for engine opa")
    opa_token: SecretStr | None = Field(None, description="bearer token of the OPA server")
    timeout_seconds: float = Field(5, description="no answer in this time is a denial", gt=0)


class MemorySettings(Section):
    """Qdrant: a server or a folder."""

    url: str = Field("", description="Qdrant server; empty: the folder")
    api_key: SecretStr | None = Field(None, description="Qdrant API key")
    path: Path | None = Field(None, description="folder of the embedded store; <data_dir>/memory when absent")


class ClusterSettings(Section):
    """One Kubernetes cluster, with two identities."""

    name: str = Field(
        description="its name, part of every incident's identity", pattern=r"^[A-Za-z0-9_-]{1,63}$"
    )
    kubeconfig: Path | None = Field(
        None, description="kubeconfig of the reading identity; in-cluster when absent"
    )
    context: str | None = Field(None, description="context in it; the current one when absent")
    write_kubeconfig: Path | None = Field(
        None, description="kubeconfig of the writing identity; no acting without"
    )
    write_context: str | None = Field(None, description="context in that file")
    environment: str = Field("production", description="environment of namespaces that carry no label")
    prometheus: str = Field("", description="URL of the Prometheus that measures it; asked in investigations")
    loki: str = Field("", description="URL of the Loki that keeps its logs; asked in investigations")
    watch: bool = Field(True, description="watch Warning events and pod states as a source of signals")


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


class ConsoleSettings(Section):
    """Where people look and approve."""

    host: str = Field(
        "127.0.0.1", description="address to listen on; off loopback people with tokens are required"
    )
    port: int = Field(8090, description="port", ge=0, le=65535)
    public_url: str = Field("", description="URL of the console in messages; http://host:port when empty")


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


class IncidentSettings(Section):
    """Limits of one incident."""

    max_attempts: int = Field(5, description="remediation attempts", ge=1, le=5)
    approval_seconds: float = Field(900, description="longest wait for an approval", gt=0)
    investigation_seconds: float = Field(180, description="time budget of an investigation", gt=0)
    verification_window_seconds: float = Field(90, description="verification gives up after this", gt=0)
    verification_stable_seconds: float = Field(30, description="health must hold this long", gt=0)
    verification_interval_seconds: float = Field(2, description="pause between measurements", gt=0)


class SloSettings(Section):
    """What is promised of incident response; the SLO gauges are computed from it."""

    target: float = Field(0.95, description="share of incidents that end well in time", gt=0, lt=1)
    resolve_minutes: float = Field(60, description="in time means within so many minutes", gt=0)


class WorkerSettings(Section):
    """Temporal workers."""

    metrics_host: str = Field(
        "127.0.0.1", description="address of /metrics; off loopback metrics_token is required"
    )
    metrics_token: SecretStr | None = Field(None, description="bearer token of /metrics and /debug/healthz")
    metrics_port: int = Field(
        0, description="port of /metrics and /debug/healthz; 0 picks a free one", ge=0, le=65535
    )
    max_concurrent_investigations: int = Field(4, description="at once, per process", ge=1)
    max_concurrent_remediations: int = Field(3, description="at once, per process (seed 001: 3)", ge=1)
    max_correlators: int = Field(
        2, description="`cortexops up` runs so many correlators at most while signals wait", ge=1, le=64
    )


class SlackSettings(Section):
    """Slack; off unless a bot token is set."""

    bot_token: SecretStr | None = Field(None, description="xoxb-…; scopes chat:write")
    signing_secret: SecretStr | None = Field(None, description="checks requests to /slack/interactions")
    channel: str = Field("#incidents", description="channel of incident threads")
    api_url: str = Field("https://slack.com/api/", description="Slack's API")


class PersonSettings(Section):
    """Somebody who may approve."""

    id: str = Field(description="how the audit trail names the person", min_length=1)
    name: str = Field("", description="how messages do")
    roles: tuple[str, ...] = Field(
        (), description="roles that policies ask for, for example oncall, sre-lead"
    )
    token_sha256: str | None = Field(None, description="SHA-256 in hex of the person's bearer token")
    slack_user_id: str | None = Field(None, description="Slack user id, as signed payloads carry it")


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is written"
    )
    format: Literal["json", "console"] = Field("json", description="json lines, or for reading")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="CORTEXOPS_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(Path(".cortexops"), description="folder of embedded engines and local data")
    environment_label: str = Field("environment", description="namespace label that names the environment")
    temporal: TemporalSettings = TemporalSettings()
    nats: NatsSettings = NatsSettings()
    postgres: PostgresSettings = PostgresSettings()
    policy: PolicySettings = PolicySettings()
    memory: MemorySettings = MemorySettings()
    clusters: tuple[ClusterSettings, ...] = ()
    gateway: GatewaySettings = GatewaySettings()
    console: ConsoleSettings = ConsoleSettings()
    correlator: CorrelatorSettings = CorrelatorSettings()
    incident: IncidentSettings = IncidentSettings()
    slo: SloSettings = SloSettings()
    worker: WorkerSettings = WorkerSettings()
    slack: SlackSettings = SlackSettings()
    people: tuple[PersonSettings, ...] = ()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)

    @model_validator(mode="after")
    def _nothing_unauthenticated_off_loopback(self) -> Settings:
        if not is_loopback(self.gateway.host) and self.gateway.token is None:
            raise ValueError(
                f"gateway.host is {self.gateway.host}, which others can reach: "
                "set gateway.token, or listen on 127.0.0.1"
            )
        if not is_loopback(self.console.host) and not any(p.token_sha256 for p in self.people):
            raise ValueError(
                f"console.host is {self.console.host}, which others can reach: "
                "give people a token_sha256, or listen on 127.0.0.1"
            )
        if not is_loopback(self.worker.metrics_host) and self.worker.metrics_token is None:
            raise ValueError(
                f"worker.metrics_host is {self.worker.metrics_host}, which others can reach: "
                "set worker.metrics_token, or listen on 127.0.0.1"
            )
        names = [cluster.name for cluster in self.clusters]
        if len(set(names)) != len(names):
            raise ValueError("clusters: two clusters have the same name; incidents could not be told apart")
        return self

    def cluster(self, name: str) -> ClusterSettings:
        """The cluster's settings. Raises `InvalidInput` for a name that is not configured."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        known = ", ".join(c.name for c in self.clusters) or "none"
        raise InvalidInput("cluster", f"{name!r} is not configured (clusters: {known})")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there. Unknown names count as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(file: Path | None = None, **overrides: Any) -> Settings:
    """Settings from the file (or `CORTEXOPS_CONFIG`) and the environment.

    Raises `InvalidInput` naming the field, or the file when it is not readable YAML.
    """
    path = file or (Path(os.environ["CORTEXOPS_CONFIG"]) if os.environ.get("CORTEXOPS_CONFIG") else None)
    content: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise InvalidInput(str(path), f"cannot be read as YAML: {error}") from None
        if not isinstance(loaded, dict | None):
            raise InvalidInput(str(path), "must be a mapping of settings")
        content = loaded or {}
    try:
        return Settings(**{**content, **overrides})
    except ValidationError as error:
        raise invalid_input(error) from None
