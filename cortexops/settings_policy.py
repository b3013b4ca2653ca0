"""Settings of what decides: policy, freezes, the autonomy ladder and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, SecretStr, model_validator

from cortexops.domain.autonomy import Level
from cortexops.settings_section import Section


class FreezeSettings(Section):
    """A change freeze."""

    name: str = Field(description="what people call it", min_length=1)
    start: AwareDatetime = Field(description="from then on, RFC 3339 with an offset")
    end: AwareDatetime = Field(description="up to but not including then")
    clusters: tuple[str, ...] = Field((), description="only there; all when empty")
    namespaces: tuple[str, ...] = Field((), description="only there; all when empty")
    environments: tuple[str, ...] = Field((), description="only there; all when empty")

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> FreezeSettings:
        if self.end <= self.start:
            raise ValueError(f"freeze {self.name}: end must be after start")
        return self


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
    reload_seconds: float = Field(
        5, description="how often workers look for a changed bundle; 0: only at start; engine regorus", ge=0
    )
    freezes: tuple[FreezeSettings, ...] = Field((), description="change freezes that go into every question")


class AutonomySettings(Section):
    """How much may be done without asking; docs/policies.md explains the ladder."""

    shadow: bool = Field(False, description="observe everything, act on nothing")
    roles: tuple[str, ...] = Field(
        ("oncall", "sre-lead"),
        description="who may take stops back, set and clear levels in the console; empty: any known person",
    )
    default: Level = Field(Level.APPROVE, description="level to begin with")
    start: dict[str, Level] = Field({}, description="level to begin with, by environment")
    cap: Level = Field(Level.AUTO, description="no level is above this one")
    highest: dict[str, Level] = Field({}, description="no level is above this one, by environment")
    approve_trials: int = Field(3, description="changes that it takes to rise to approve", ge=1)
    approve_lower_bound: float = Field(
        0.4, description="lower bound of the share that helped, to rise to approve", ge=0, le=1
    )
    auto_trials: int = Field(10, description="changes that it takes to rise to auto", ge=1)
    auto_lower_bound: float = Field(
        0.7, description="lower bound of the share that helped, to rise to auto", ge=0, le=1
    )
    window_days: float = Field(90, description="older outcomes count no more", gt=0)
    block_hours: float = Field(168, description="nothing rises so long after a rollback", ge=0)


class LimitSettings(Section):
    """Limits over all incidents and processes."""

    remediations: int = Field(3, description="incidents that may act at once", ge=1, le=100)
    queued: int = Field(10, description="incidents that may wait for their turn; more are denied", ge=0)
    incident_seconds: float = Field(
        1800, description="from the first time that an incident may act; later changes are denied", gt=0
    )
