"""Settings of the optional model: the endpoint, the stages, the limits."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SecretStr, model_validator

from cortexops.domain.reasoning import ModelLimits
from cortexops.settings_section import Section


class StageSettings(Section):
    """How a model is asked at one stage of an investigation."""

    name: str = Field("", description="its model; that of `model.name` when empty")
    temperature: float = Field(0.1, description="sampling temperature", ge=0, le=2)
    max_tokens: int = Field(2000, description="most tokens of an answer", ge=16, le=32_000)
    timeout_seconds: float = Field(30, description="a call that takes longer has failed", gt=0, le=600)
    budget_tokens: int = Field(30_000, description="tokens of the stage per investigation", gt=0)
    price_in: float = Field(0, description="price of a million tokens sent", ge=0)
    price_out: float = Field(0, description="price of a million tokens received", ge=0)


class ModelSettings(Section):
    """A language model that ranks and words what code found; off unless base_url is set."""

    base_url: str = Field(
        "", description="OpenAI-compatible endpoint, ending in /v1; empty: no model is asked"
    )
    api_key: SecretStr | None = Field(None, description="its API key; local endpoints need none")
    name: str = Field("", description="model of every stage that names none")
    hide_names: bool = Field(
        True, description="send tokens instead of names of clusters, namespaces, workloads and hosts"
    )
    max_rounds: int = Field(3, description="rankings, the last without further reading", ge=1, le=10)
    budget_tokens: int = Field(60_000, description="tokens per incident; 0: not bounded", ge=0)
    budget_cost: float = Field(0, description="cost per incident, in the prices' currency; 0: no bound", ge=0)
    total_seconds: float = Field(120, description="time for the model in one investigation", gt=0, le=1800)
    breaker_failures: int = Field(5, description="failures in a row that open a model's breaker", ge=1)
    breaker_seconds: float = Field(30, description="an open breaker lets one probe through after this", gt=0)
    extract: StageSettings = StageSettings()
    rank: StageSettings = StageSettings()
    explain: StageSettings = StageSettings()
    narrate: StageSettings = StageSettings()

    @property
    def on(self) -> bool:
        return bool(self.base_url)

    @property
    def stages(self) -> tuple[StageSettings, ...]:
        return (self.extract, self.rank, self.explain, self.narrate)

    def with_key(self) -> dict[str, Any]:
        """Everything in plain data, the key included: for a file that only its owner reads."""
        key = self.api_key.get_secret_value() if self.api_key is not None else None
        return {**self.model_dump(mode="json", exclude={"api_key"}), "api_key": key}

    def limits(self) -> ModelLimits | None:
        """What one incident may use; None when no model is configured."""
        if not self.on:
            return None
        return ModelLimits(
            rounds=self.max_rounds,
            tokens=self.budget_tokens,
            cost=self.budget_cost,
            seconds=self.total_seconds,
            call_seconds=max(stage.timeout_seconds for stage in self.stages),
        )

    @model_validator(mode="after")
    def _every_stage_has_a_model(self) -> ModelSettings:
        stages = {
            "extract": self.extract,
            "rank": self.rank,
            "explain": self.explain,
            "narrate": self.narrate,
        }
        missing = [stage for stage, settings in stages.items() if not (settings.name or self.name)]
        if self.on and missing:
            raise ValueError(f"model.name is empty, and so is that of {', '.join(missing)}: name a model")
        return self
