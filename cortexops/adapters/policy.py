"""The policy engine that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from cortexops.adapters.policy_bundle import Bundle, load_bundle
from cortexops.adapters.policy_opa import OpaPolicy
from cortexops.adapters.policy_reload import ReloadingPolicy
from cortexops.resources import policies_path
from cortexops.settings_policy import PolicySettings


def shipped_pack() -> Path:
    """The folder of the pack that comes with the product. Raises `PermanentError` when it is missing."""
    return policies_path()


def shipped_bundle(overrides: Path | None = None) -> Bundle:
    return load_bundle(shipped_pack(), overrides)


def build_policy(
    settings: PolicySettings, *, overrides: Path | None = None, opa_token: str | None = None
) -> ReloadingPolicy | OpaPolicy:
    """The engine, not yet started. The one in process follows its folder when told to `watch`.

    Raises `PermanentError` for a bundle that does not parse or answer, `InvalidInput` for a URL that is none.
    """
    if settings.engine == "opa":
        return OpaPolicy(settings.opa_url, token=opa_token, timeout_seconds=settings.timeout_seconds)
    path = settings.path or shipped_pack()
    return ReloadingPolicy(path, overrides, timeout_seconds=settings.timeout_seconds)
