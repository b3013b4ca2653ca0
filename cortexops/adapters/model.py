"""The model that the settings ask for, and the limits that they set for one incident."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cortexops.settings_model import ModelSettings

if TYPE_CHECKING:
    from cortexops.adapters.openai_model import OpenAIModel


def build_model(settings: ModelSettings) -> OpenAIModel | None:
    """None when no model is configured. Raises `InvalidInput` for an address that is none."""
    if not settings.on:
        return None
    from cortexops.adapters.openai_model import OpenAIModel

    return OpenAIModel(
        settings.base_url, settings.api_key.get_secret_value() if settings.api_key is not None else None
    )
