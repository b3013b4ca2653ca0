"""A language model, as the product asks it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from cortexops.domain.errors import CortexError
from cortexops.domain.reasoning_use import Outcome


class ModelRequest(NamedTuple):
    """One call. `schema` is a JSON Schema that the answer should have; `seconds` bound the whole call."""

    model: str
    system: str
    user: str
    schema_name: str
    schema: dict[str, Any]
    temperature: float
    max_tokens: int
    seconds: float


class ModelAnswer(NamedTuple):
    """The text, with the tokens that the endpoint counted; None where it did not say."""

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None


class ModelFailed(CortexError):
    """There is no answer: `outcome` says why, `retry_after` (seconds) when the endpoint named a time.

    The message holds neither the prompt nor the endpoint's text. `answered` tells that the endpoint did
    answer, so that it works, and what the call used.
    """

    def __init__(
        self,
        outcome: Outcome,
        message: str,
        *,
        retry_after: float | None = None,
        answered: ModelAnswer | None = None,
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.retry_after = retry_after
        self.answered = answered


class LanguageModel(Protocol):
    """An endpoint. Sends each request once: who calls it decides about repeating."""

    @property
    def address(self) -> str:
        """The endpoint, for telling providers apart. Holds no credentials."""
        ...

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """The model's text. Raises `ModelFailed`."""
        ...

    async def close(self) -> None: ...
