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
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import invalid_input
from cortexops.settings_git import GitSettings
from cortexops.settings_ingest import CorrelatorSettings, GatewaySettings, NatsSettings
from cortexops.settings_model import ModelSettings
from cortexops.settings_pagerduty import PagerDutySettings
from cortexops.settings_policy import AutonomySettings, LimitSettings, PolicySettings
from cortexops.settings_section import Section
from cortexops.settings_verification import VerificationSettings


class TemporalSettings(Section):
    """The workflow engine."""

    address: str = Field("127.0.0.1:7233", description="host:port of the Temporal frontend")
    namespace: str = Field("default", description="Temporal namespace")
    api_key: SecretStr | None = Field(None, description="API key, for Temporal Cloud")
    tls: bool = Field(False, description="connect with TLS")
    ui_url: str = Field("", description="Temporal UI, for links in messages")


class PostgresSettings(Section):
    """The database."""

    dsn: SecretStr = Field(
        SecretStr("postgresql+psycopg://cortexops@127.0.0.1:5432/cortexops"),
        description="SQLAlchemy URL with the psycopg driver",
    )
    pool_size: int = Field(5, description="connections per process", ge=1, le=100)


class MemorySettings(Section):
    """Qdrant: a server or a folder."""

    url: str = Field("", description="Qdrant server; empty: the folder")
    api_key: SecretStr | None = Field(None, description="Qdrant API key")
    path: Path | None = Field(None, description="folder of the embedded store; <data_dir>/memory when absent")
    half_life_days: float = Field(
        90, description="a precedent this old counts half; never below a quarter", gt=0
    )
    embeddings_url: str = Field(
        "", description="base address of an OpenAI-compatible API with /embeddings; empty: vectors made here"
    )
    embeddings_model: str = Field("", description="model that it is asked for")
    embeddings_key: SecretStr | None = Field(None, description="its API key")
    embeddings_size: int = Field(
        0, description="dimensions to ask for and to insist on; 0: those of its first answer", ge=0, le=8192
    )
    embeddings_timeout_seconds: float = Field(
        2, description="no vector in this time: those made here are used", gt=0, le=4
    )
    embeddings_least: float = Field(
        0.5, description="least cosine of the model at which a case is a precedent by it alone", ge=0, le=1
    )


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


class ConsoleSettings(Section):
    """Where people look and approve."""

    host: str = Field(
        "127.0.0.1", description="address to listen on; off loopback people with tokens are required"
    )
    port: int = Field(8090, description="port", ge=0, le=65535)
    public_url: str = Field("", description="URL of the console in messages; http://host:port when empty")


class IncidentSettings(Section):
    """Limits of one incident."""

    max_attempts: int = Field(5, description="remediation attempts", ge=1, le=5)
    approval_seconds: float = Field(900, description="longest wait for an approval", gt=0)
    investigation_seconds: float = Field(180, description="time budget of an investigation", gt=0)
    verification_window_seconds: float = Field(90, description="verification gives up after this", gt=0)
    verification_stable_seconds: float = Field(30, description="health must hold this long", gt=0)
    verification_interval_seconds: float = Field(2, description="pause between measurements", gt=0)


class RunbookSettings(Section):
    """What teams write down about their alerts."""

    path: Path | None = Field(None, description="folder of your runbooks (*.yaml)")
    shipped: bool = Field(True, description="use the shipped runbooks as well")
    url_template: str = Field(
        "", description="address of further ones, for example https://wiki/runbooks/{alertname}.yaml"
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="hosts from which a `runbook_url` of an alert is fetched; others are only shown"
    )
    allow_private: bool = Field(False, description="fetch from private addresses, too")
    fetched_actions: tuple[str, ...] = Field((), description="actions that a fetched runbook may ask for")
    budget_seconds: float = Field(30, description="longest time for a runbook's checks", gt=0, le=120)


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
    max_concurrent_model_calls: int = Field(8, description="at once, per process", ge=1)
    max_concurrent_remediations: int = Field(3, description="at once, per process", ge=1)
    max_correlators: int = Field(
        2, description="`cortexops up` runs so many correlators at most while signals wait", ge=1, le=64
    )


class AuditSettings(Section):
    """The audit trail."""

    retention_days: float = Field(
        0, description="`audit prune` archives incidents that ended so long ago; 0: only with --before", ge=0
    )
    archive_path: Path | None = Field(
        None, description="folder of archives; <data_dir>/audit-archive when absent"
    )
    archive_daily: bool = Field(
        True,
        description="with both of them set, the Temporal Schedule `cortexops-archive` archives every night",
    )


class SweepSettings(Section):
    """What becomes of work whose workflow was terminated."""

    enabled: bool = Field(
        True, description="keep the Temporal Schedules `cortexops-sweep` and `cortexops-anchor`"
    )
    interval_seconds: float = Field(60, description="pause between sweeps", ge=5)
    grace_seconds: float = Field(
        75, description="so long after its workflow ended, a last request to a cluster may be under way", ge=0
    )
    compensate: bool = Field(
        False,
        description="take back what was applied and not verified, where only we changed it; else ask people",
    )


class SlackSettings(Section):
    """Slack; off unless a bot token is set."""

    bot_token: SecretStr | None = Field(None, description="xoxb-…; scopes chat:write")
    signing_secret: SecretStr | None = Field(None, description="checks requests to /slack/interactions")
    channel: str = Field("#incidents", description="channel of incident threads")
    api_url: str = Field("https://slack.com/api/", description="Slack's API")
    app_token: SecretStr | None = Field(
        None, description="xapp-…; scope connections:write; buttons by Socket Mode, without a public URL"
    )
    team_id: str = Field("", description="T…; requests of other workspaces are refused")
    app_id: str = Field("", description="A…; requests of other apps are refused")
    escalation_channel: str = Field(
        "", description="channel that hears the last reminder, and of approvals that nobody answered"
    )
    escalation_roles: tuple[str, ...] = Field((), description="people with these roles are mentioned there")


class ApprovalSettings(Section):
    """What happens while people are asked."""

    watch_seconds: float = Field(5, description="how often votes and reminders are looked for", gt=0)
    reminders: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.333, 0.667), description="when people are reminded, as shares of the time that they have"
    )


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
    autonomy: AutonomySettings = AutonomySettings()
    limits: LimitSettings = LimitSettings()
    memory: MemorySettings = MemorySettings()
    model: ModelSettings = ModelSettings()
    clusters: tuple[ClusterSettings, ...] = ()
    gateway: GatewaySettings = GatewaySettings()
    console: ConsoleSettings = ConsoleSettings()
    correlator: CorrelatorSettings = CorrelatorSettings()
    incident: IncidentSettings = IncidentSettings()
    verification: VerificationSettings = VerificationSettings()
    runbooks: RunbookSettings = RunbookSettings()
    git: GitSettings = GitSettings()
    slo: SloSettings = SloSettings()
    worker: WorkerSettings = WorkerSettings()
    audit: AuditSettings = AuditSettings()
    sweep: SweepSettings = SweepSettings()
    slack: SlackSettings = SlackSettings()
    pagerduty: PagerDutySettings = PagerDutySettings()
    approvals: ApprovalSettings = ApprovalSettings()
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
