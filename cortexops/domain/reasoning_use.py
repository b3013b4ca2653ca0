"""What a model contributed to a diagnosis, and what it cost: kept with the diagnosis, shown as the model's."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from cortexops.domain.resource import Frozen

LONGEST_CLAIM = 1200
"""Characters of one sentence or paragraph."""


class Stage(StrEnum):
    """What a model is asked for, one after the other."""

    EXTRACT = "extract"
    RANK = "rank"
    EXPLAIN = "explain"
    NARRATE = "narrate"


class Outcome(StrEnum):
    """How a call ended, and how the whole reasoning did: `answered`, or why there is no (further) answer."""

    ANSWERED = "answered"
    OFF = "off"  # no model is configured where it was asked for
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"  # 5xx, or not reachable
    REJECTED = "rejected"  # 4xx: key, name of the model, request
    REFUSED = "refused"  # the model declined
    TRUNCATED = "truncated"
    INVALID = "invalid"  # prose, or not what the schema asks for
    BUDGET = "budget"  # tokens, cost or time of the incident are used up
    BREAKER_OPEN = "breaker_open"
    WITHHELD = "withheld"  # the prompt was not fit to leave


class Claim(Frozen):
    """A statement with the ids of the evidence that it rests on."""

    text: str = Field(max_length=LONGEST_CLAIM)
    cites: tuple[str, ...] = Field(max_length=20)


class Spent(Frozen):
    """Calls, tokens and money. `cost` is in the currency of the configured prices."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            calls=self.calls + other.calls,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            cost=round(self.cost + other.cost, 8),
        )


class ModelUse(Frozen):
    """What was asked of models in one investigation, what of it stood, and what it cost.

    Wording (`summary`, `whys`, `narrative`, `facts`) is the model's own; every claim in it cites evidence
    of the diagnosis. `measured` is the confidence that code gave to the leading hypothesis,
    `spent` what the incident has cost up to now, its earlier investigations included.
    """

    outcome: Outcome
    spent: Spent = Spent()
    models: tuple[str, ...] = ()
    rounds: int = 0
    cut_claims: int = 0
    refused_requests: int = 0
    reordered: bool = False
    measured: float | None = None
    summary: Claim | None = None
    whys: tuple[Claim, ...] = ()
    narrative: tuple[Claim, ...] = ()
    facts: tuple[Claim, ...] = ()
    caveats: tuple[str, ...] = ()
