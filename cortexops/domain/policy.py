"""What policy is asked and what it answers.

The input is a stable document (`cortexops.policy_input/v1`). Anything but a well-formed answer is a denial.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from cortexops.domain.action import Action, BlastRadius, ProposedBy, Risk
from cortexops.domain.autonomy import Autonomy
from cortexops.domain.change import DiffLine
from cortexops.domain.redaction import redact_value
from cortexops.domain.resource import Frozen

INPUT_SCHEMA: Literal["cortexops.policy_input/v1"] = "cortexops.policy_input/v1"
QUERY = "data.cortexops.decision"
"""The rule that every bundle must define."""


class Effect(StrEnum):
    ALLOW = "allow"
    REQUIRE_APPROVAL = "require_approval"
    DENY = "deny"


class Outcomes(Frozen):
    """How often changes ended in each way."""

    verified: int = 0
    rolled_back: int = 0
    failed: int = 0


class History(Frozen):
    """What this kind of action achieved lately; drills do not count."""

    days: int = 30
    target: Outcomes = Outcomes()
    """On this very object."""
    namespace: Outcomes = Outcomes()
    """On all objects of its namespace."""


class FreezeWindow(Frozen):
    """A change freeze from the settings: from `start` up to but not including `end`. Empty filters match all."""

    name: str
    start: AwareDatetime
    end: AwareDatetime
    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()


class StopNotice(Frozen):
    """A stop in force that covers the change. The product denies whatever a policy makes of it."""

    id: str
    scope: str
    by: str
    reason: str


class PolicyInput(Frozen):
    """Everything that a policy may look at."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["cortexops.policy_input/v1"] = Field(default=INPUT_SCHEMA, alias="schema")
    now: AwareDatetime
    incident_id: str
    severity: str
    risk_score: int
    attempt: int
    drill: bool
    cluster: str
    namespace: str
    environment: str
    action: Action
    risk: Risk
    reversible: bool
    category: str
    confidence: float
    verdict: str
    blast_radius: BlastRadius
    diff: tuple[DiffLine, ...] = ()
    commands: tuple[str, ...] = ()
    """What a person would type to do the same."""
    actor: str = "cortexops"
    proposed_by: ProposedBy = ProposedBy()
    proposed_by_person: str | None = None
    autonomy: Autonomy = Autonomy()
    history: History = History()
    stops: tuple[StopNotice, ...] = ()
    freezes: tuple[FreezeWindow, ...] = ()

    def document(self) -> dict[str, Any]:
        """The JSON document under which policies see it."""
        return self.model_dump(mode="json", by_alias=True)

    def redacted(self) -> dict[str, Any]:
        """The document as it is kept with the decision: whole, with secrets masked."""
        masked: dict[str, Any] = redact_value("", self.document())
        return masked


class PolicyDecision(Frozen):
    """The answer, with its reasons. `revision` is the hash of the bundle that gave it."""

    effect: Effect
    reasons: tuple[str, ...]
    rule: str = ""
    quorum: int = Field(default=1, ge=1, le=10)
    roles: tuple[str, ...] = ()
    expires_seconds: int = Field(default=900, ge=30, le=86_400)
    revision: str = ""
    engine: str = ""
    held_until: AwareDatetime | None = None
    """A silence holds the incident: nothing is done before then, and the question is asked again."""


def denied(reason: str, *, revision: str = "", engine: str = "") -> PolicyDecision:
    """The answer whenever there is none: policy fails closed."""
    return PolicyDecision(
        effect=Effect.DENY, reasons=(reason,), rule="fail_closed", revision=revision, engine=engine
    )


def withdrawn(before: PolicyDecision, now: PolicyDecision) -> str | None:
    """Why what people agreed to under the decision `before` may not be done under that of `now`, or None."""
    said = f"{now.rule}: {', '.join(now.reasons)}"
    if now.effect is Effect.DENY:
        return f"policy denies by now what people agreed to: {said}"
    if now.revision != before.revision:
        was, of = before.revision[:12] or "unknown", now.revision[:12] or "unknown"
        return f"the policy changed while people decided: it was revision {was}, now it is {of}"
    wider = not now.roles or (bool(before.roles) and set(before.roles) <= set(now.roles))
    if now.effect is Effect.REQUIRE_APPROVAL and (now.quorum > before.quorum or not wider):
        roles = f" of {', '.join(now.roles)}" if now.roles else ""
        return f"policy asks for more by now: {now.quorum}{roles} must agree ({said})"
    return None


def read_decision(answer: object, *, revision: str, engine: str) -> PolicyDecision:
    """What an engine answered, checked. Undefined, nonsense, or a reasonless answer is a denial."""
    if answer is None:
        return denied("policy_undefined", revision=revision, engine=engine)
    if not isinstance(answer, dict):
        return denied("policy_nonsense", revision=revision, engine=engine)
    try:
        decision = PolicyDecision.model_validate(
            {**answer, "revision": revision, "engine": engine, "held_until": None}
        )
    except ValidationError:
        return denied("policy_nonsense", revision=revision, engine=engine)
    if not any(reason.strip() for reason in decision.reasons):
        return denied("policy_without_reason", revision=revision, engine=engine)
    return decision
