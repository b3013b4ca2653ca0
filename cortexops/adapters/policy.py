"""The policy engine that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from cortexops.adapters.policy_bundle import Bundle, load_bundle
from cortexops.adapters.policy_opa import OpaPolicy
from cortexops.adapters.policy_regorus import RegorusPolicy
from cortexops.domain.errors import PermanentError
from cortexops.settings import PolicySettings


def shipped_pack() -> Path:
    """The folder of the pack that comes with the product. Raises `PermanentError` when it is missing."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_data" / "policies", package.parent / "policies"):
        if (folder / "decision.rego").is_file():
            return folder
    raise PermanentError("policies: the shipped pack is missing from this installation; set policy.path")


def shipped_bundle(overrides: Path | None = None) -> Bundle:
    return load_bundle(shipped_pack(), overrides)


def build_policy(
    settings: PolicySettings, *, overrides: Path | None = None, opa_token: str | None = None
) -> RegorusPolicy | OpaPolicy:
    """The engine, not yet started.

    Raises `PermanentError` for a bundle that does not parse or answer, `InvalidInput` for a URL that is none.
    """
    if settings.engine == "opa":
        return OpaPolicy(settings.opa_url, token=opa_token, timeout_seconds=settings.timeout_seconds)
    bundle = load_bundle(settings.path or shipped_pack(), overrides)
    return RegorusPolicy(bundle, timeout_seconds=settings.timeout_seconds)
