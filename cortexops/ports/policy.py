"""The policy engine."""

from __future__ import annotations

from typing import Protocol

from cortexops.domain.policy import PolicyDecision, PolicyInput


class PolicyEngine(Protocol):
    """Asks the bundle. Never raises for what the engine does: no answer and nonsense are denials."""

    async def evaluate(self, question: PolicyInput) -> PolicyDecision: ...

    async def health(self) -> str | None:
        """None when it answers, else what is wrong."""
        ...

    async def close(self) -> None: ...
