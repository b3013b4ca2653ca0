"""What another policy would have decided on the questions of the past."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field, ValidationError

from cortexops.domain.audit import AuditEvent
from cortexops.domain.guardrails import OWN_RULES
from cortexops.domain.policy import Effect, PolicyDecision, PolicyInput
from cortexops.domain.resource import Frozen


class Said(Frozen):
    """What a policy said, without what only the product adds."""

    effect: Effect
    reasons: tuple[str, ...]
    rule: str = ""
    quorum: int = 1
    roles: tuple[str, ...] = ()

    @classmethod
    def of(cls, decision: PolicyDecision) -> Said:
        return cls.model_validate(decision.model_dump(include=set(cls.model_fields)))


class Recorded(Frozen):
    """One decision of the past with the question that led to it."""

    incident_id: str
    at: AwareDatetime
    revision: str
    question: PolicyInput
    then: Said


class Change(StrEnum):
    """How far the answer is another."""

    EFFECT = "effect"
    APPROVAL = "approval"  # other people, or more or fewer of them
    REASONS = "reasons"


class Difference(Frozen):
    incident_id: str
    at: AwareDatetime
    action: str
    change: Change
    then: Said
    now: Said


class Replay(Frozen):
    """`unreadable`: decisions kept without a question, or with one that this version cannot read."""

    asked: int = 0
    unreadable: int = 0
    differences: tuple[Difference, ...] = ()
    effects: dict[str, int] = Field(default_factory=dict)
    """`deny → allow` and so on: how often."""

    @property
    def changed(self) -> bool:
        """Whether anything but the wording would be another."""
        return any(one.change is not Change.REASONS for one in self.differences)


def recorded(event: AuditEvent) -> Recorded | None:
    """The decision in an audit event; None when it cannot be asked again."""
    data: dict[str, Any] = event.data
    try:
        if "answer" in data:
            said = data["answer"]
        elif data.get("rule") in OWN_RULES:
            return None
        else:  # kept before the bundle's own answer was
            said = {key: data[key] for key in ("effect", "reasons", "rule", "quorum")}
        return Recorded(
            incident_id=event.chain,
            at=event.at,
            revision=str(data.get("revision", "")),
            question=PolicyInput.model_validate(data["input"]),
            then=Said.model_validate(said),
        )
    except (KeyError, ValidationError):
        return None


def difference(before: Recorded, now: PolicyDecision) -> Difference | None:
    """How the answer of now differs, if it does."""
    said = Said.of(now)
    if said.effect is not before.then.effect:
        change = Change.EFFECT
    elif said.effect is Effect.REQUIRE_APPROVAL and (
        said.quorum != before.then.quorum or (before.then.roles and said.roles != before.then.roles)
    ):
        change = Change.APPROVAL
    elif said.reasons != before.then.reasons:
        change = Change.REASONS
    else:
        return None
    return Difference(
        incident_id=before.incident_id,
        at=before.at,
        action=str(before.question.action),
        change=change,
        then=before.then,
        now=said,
    )


def summed(asked: int, unreadable: int, found: list[Difference]) -> Replay:
    effects: dict[str, int] = {}
    for one in found:
        if one.change is Change.EFFECT:
            what = f"{one.then.effect} → {one.now.effect}"
            effects[what] = effects.get(what, 0) + 1
    return Replay(asked=asked, unreadable=unreadable, differences=tuple(found), effects=effects)
