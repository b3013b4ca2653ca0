"""Settings of the metric checks that a change must pass."""

from __future__ import annotations

from pydantic import Field, model_validator

from cortexops.domain.metric_checks import MetricCheck
from cortexops.settings_section import Section


class VerificationSettings(Section):
    """What Prometheus is asked after a change; nothing where `clusters[].prometheus` is empty."""

    defaults: bool = Field(True, description="ask the checks that are shipped as well")
    interval_seconds: float = Field(
        10, description="pause between two queries of a check; at least the scrape interval", gt=0
    )
    range_seconds: float = Field(
        60, description="a value covers at most so much of the time since, or four scrapes", gt=0
    )
    before_seconds: float = Field(300, description="so much time before the change is a baseline", gt=0)
    calm_seconds: float = Field(
        3600, description="so much time before the trouble began is the other baseline", gt=0
    )
    checks: tuple[MetricCheck, ...] = Field((), description="your own checks")

    @model_validator(mode="after")
    def _names_are_names(self) -> VerificationSettings:
        names = [check.name for check in self.checks]
        if len(set(names)) != len(names):
            raise ValueError("verification.checks: two checks have the same name")
        return self
