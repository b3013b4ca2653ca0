"""Settings of PagerDuty, the level above Slack."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from cortexops.settings_section import Section


class PagerDutySettings(Section):
    """PagerDuty; off unless a routing key is set."""

    routing_key: SecretStr | None = Field(
        None, description="integration key of a service (Events API v2); pages when nobody answers"
    )
    routing_key_file: Path | None = Field(
        None, description="file that holds it instead; read before each page, so that it may be replaced"
    )
    api_url: str = Field("https://events.pagerduty.com", description="PagerDuty's Events API")
    timeout_seconds: float = Field(8, description="longest wait for its answer", gt=0, le=20)

    @property
    def on(self) -> bool:
        return self.routing_key is not None or self.routing_key_file is not None

    @model_validator(mode="after")
    def _the_key_is_one_and_stays_secret(self) -> PagerDutySettings:
        if self.routing_key is not None and self.routing_key_file is not None:
            raise ValueError("pagerduty: set routing_key or routing_key_file, not both")
        if self.routing_key is not None and not self.routing_key.get_secret_value().strip():
            raise ValueError("pagerduty.routing_key is empty: leave it out where nobody is paged")
        parts = urlsplit(self.api_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and _here(parts.hostname or "")):
            raise ValueError(
                "pagerduty.api_url must be https: the routing key would cross the network readable"
            )
        return self


def _here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
