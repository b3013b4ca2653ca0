"""What was decided, what explains what, and what a model said of an incident: for the incident's page."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import AwareDatetime, ValidationError

from cortexops.domain.action import BlastRadius
from cortexops.domain.audit import AuditEvent, AuditType
from cortexops.domain.diagnosis import Diagnosis, Hypothesis
from cortexops.domain.ledger import LedgerState
from cortexops.domain.narrative import blast_text
from cortexops.domain.reasoning_use import Claim, ModelUse, Outcome
from cortexops.domain.resource import Frozen

_MOST_OTHERS = 3
_DECISIONS = frozenset({AuditType.POLICY_DECIDED, AuditType.POLICY_VIOLATION})
NO_ANSWER = {
    Outcome.OFF: "none is configured where it was asked",
    Outcome.TIMEOUT: "it did not answer in time",
    Outcome.RATE_LIMITED: "its provider has a limit on requests",
    Outcome.UNAVAILABLE: "its provider was not reachable",
    Outcome.REJECTED: "its provider refused the request",
    Outcome.REFUSED: "it declined",
    Outcome.TRUNCATED: "its answer was cut off",
    Outcome.INVALID: "its answer was not of the form that was asked for",
    Outcome.BUDGET: "the incident's budget for models is used up",
    Outcome.BREAKER_OPEN: "it failed too often lately to be asked",
    Outcome.WITHHELD: "what it would have been told was not fit to leave",
}
"""Why a model has nothing (further) to say."""
OUTCOMES = {
    LedgerState.VERIFIED: "Verified:",
    LedgerState.COMPENSATED: "Undone:",
    LedgerState.REFUSED: "Not done:",
    LedgerState.UNKNOWN: "A person must look:",
}
"""What the detail of a change is about; the badge says all there is to say of the others."""


class Decided(Frozen):
    """One answer of policy to one proposed action."""

    at: AwareDatetime
    effect: str
    action: str
    reasons: tuple[str, ...] = ()
    rule: str = ""
    quorum: int = 0
    blast: str = ""


class Told(Frozen):
    """A model's words in parts with headings, what they cost, and why there are no more."""

    parts: tuple[tuple[str, tuple[Claim, ...]], ...]
    use: ModelUse
    trouble: str = ""


def decisions(events: Iterable[AuditEvent]) -> list[Decided]:
    """Every plan that policy was asked about, the newest first. An entry's detail is `effect: action: reasons`."""
    found = []
    for event in events:
        if event.type not in _DECISIONS or "effect" not in event.data:
            continue
        data, effect = event.data, str(event.data["effect"])
        said = data.get("reasons")
        reasons = tuple(str(reason) for reason in said) if isinstance(said, list) else ()
        found.append(
            Decided(
                at=event.at,
                effect=effect,
                action=event.detail.removeprefix(f"{effect}: ").removesuffix(f": {', '.join(reasons)}"),
                reasons=reasons,
                rule=str(data.get("rule") or ""),
                quorum=data["quorum"] if isinstance(data.get("quorum"), int) else 0,
                blast=_blast(data.get("input")),
            )
        )
    return found[::-1]


def _blast(asked: object) -> str:
    radius = asked.get("blast_radius") if isinstance(asked, dict) else None
    try:
        return blast_text(BlastRadius.model_validate(radius)) if radius is not None else ""
    except ValidationError:  # written by another release
        return ""


def folded(diagnosis: Diagnosis | None) -> list[Hypothesis]:
    """Symptoms: other findings that the leading cause explains."""
    cause = diagnosis.cause if diagnosis is not None else None
    if diagnosis is None or cause is None:
        return []
    return [
        other
        for other in diagnosis.hypotheses[1:]
        if other.category in cause.explains and other.category is not cause.category
    ]


def considered(diagnosis: Diagnosis | None) -> list[Hypothesis]:
    """What else it could have been; symptoms of the cause are none of it."""
    if diagnosis is None:
        return []
    symptoms = folded(diagnosis)
    return [other for other in diagnosis.hypotheses[1:] if other not in symptoms][:_MOST_OTHERS]


def told(diagnosis: Diagnosis | None) -> Told | None:
    """What a model contributed; None when none was asked."""
    use = diagnosis.model if diagnosis is not None else None
    if use is None:
        return None
    parts = (
        ("In one sentence", (use.summary,) if use.summary else ()),
        ("Why", use.whys),
        ("What happened", use.narrative),
        ("What it read from the evidence", use.facts),
    )
    return Told(
        parts=tuple((heading, claims) for heading, claims in parts if claims),
        use=use,
        trouble=NO_ANSWER.get(use.outcome, ""),
    )
