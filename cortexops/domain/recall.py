"""How much an earlier incident counts: by how it ended, how long ago, what changed since, what people said.

A precedent is never sufficient alone: it adds nothing to what has no deterministic support, never makes a
hypothesis, and never carries a confidence over the line where the verdict would say more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from cortexops.domain.case import Case, Recalled
from cortexops.domain.diagnosis import HYPOTHESIS_FROM, ROOT_CAUSE_FROM, Hypothesis, ceiling_of
from cortexops.domain.incident import IncidentState
from cortexops.domain.precedent import Fingerprint, Precedent
from cortexops.domain.resource import ResourceRef
from cortexops.domain.words import counted

HALF_LIFE_DAYS = 90.0
CANDIDATES = 30
"""So many cases are weighed; memory alone does not know what makes one count."""
MOST_BONUS = 0.05
"""The most that precedents add to a confidence."""

_OUTCOMES = {IncidentState.RESOLVED: 1.0, IncidentState.CONTAINED: 0.6}
_FAILED = 0.3
_LEAST_FRESH = 0.25
"""However old: a lesson is not forgotten, only outweighed."""
_IMAGE_CHANGED, _CONFIG_CHANGED = 0.7, 0.8
_OTHER_CATEGORY = 0.4
_OTHER_WORKLOAD, _OTHER_CLUSTER = 0.9, 0.8
_SAID_WRONG = 0.3  # what is left of the weight when everybody called the diagnosis incorrect
_MOSTLY_WRONG = 0.75


def outcome_weight(outcome: str) -> float:
    """RESOLVED 1, CONTAINED 0.6, anything else 0.3."""
    return next((weight for state, weight in _OUTCOMES.items() if state.value == outcome), _FAILED)


def freshness(at: datetime, now: datetime, half_life_days: float = HALF_LIFE_DAYS) -> float:
    """1 now, half after each half-life, never below 0.25. What lies in the future counts as now."""
    days = max(0.0, (now - at).total_seconds() / 86_400)
    return float(max(_LEAST_FRESH, 0.5 ** (days / half_life_days)))


def changed_since(case: Fingerprint, present: Fingerprint) -> tuple[list[str], list[str]]:
    """(containers whose image, configurations whose hash) differ; only what both have seen is compared."""
    images = [n for n, i in case.images.items() if n in present.images and present.images[n] != i]
    configs = [n for n, h in case.configs.items() if n in present.configs and present.configs[n] != h]
    return images, configs


def precedent(
    recalled: Recalled,
    *,
    target: ResourceRef,
    category: str,
    present: Fingerprint,
    wrong: Mapping[str, float],
    now: datetime,
    half_life_days: float = HALF_LIFE_DAYS,
) -> Precedent:
    """The case as it counts here. `wrong` is by incident how far people called its diagnosis wrong (0–1)."""
    case = recalled.case
    days = max(0, round((now - case.at).total_seconds() / 86_400))
    weight = recalled.score * outcome_weight(case.outcome) * freshness(case.at, now, half_life_days)
    why = [case.outcome.lower(), f"{counted(days, 'day')} old"]
    own = case.place == (target.cluster, target.namespace, target.kind, target.name)
    if own:
        why.append("same workload")
        images, configs = changed_since(case.fingerprint, present)
        if images:
            weight *= _IMAGE_CHANGED
            why.append(f"image of {', '.join(images[:3])} changed since")
        if configs:
            weight *= _CONFIG_CHANGED
            why.append(f"{', '.join(configs[:3])} changed since")
    elif case.cluster == target.cluster:
        weight *= _OTHER_WORKLOAD
        why.append("another workload")
    else:
        weight *= _OTHER_CLUSTER
        why.append(f"another cluster, {case.cluster}")
    if case.category != category:
        weight *= _OTHER_CATEGORY
        why.append(f"its cause was {case.category}")
    share = wrong.get(case.incident_id)
    if share is not None:
        weight *= 1 - (1 - _SAID_WRONG) * share
        why.append(_said(share))
    return Precedent(
        incident_id=case.incident_id,
        at=case.at,
        outcome=case.outcome,
        category=case.category,
        resource=" ".join((case.kind, "/".join(filter(None, (case.namespace, case.name))))),
        worked=_worked(case),
        did_not=tuple(t.action_type for t in case.tried if not t.worked),
        runbook=case.runbook,
        likeness=min(max(recalled.likeness, 0.0), 1.0),
        weight=round(min(max(weight, 0.0), 1.0), 4),
        why=tuple(why),
    )


def _said(share: float) -> str:
    if share == 0:
        return "people called its diagnosis accurate"
    return f"people called its diagnosis {'incorrect' if share >= _MOSTLY_WRONG else 'partly wrong'}"


def _worked(case: Case) -> str:
    if case.tried:
        return next((t.action_type for t in reversed(case.tried) if t.worked), "")
    return case.action_type if outcome_weight(case.outcome) > _FAILED else ""


def heaviest(found: Sequence[Precedent], most: int) -> tuple[Precedent, ...]:
    """By weight, then the newer, then by id."""
    ordered = sorted(found, key=lambda p: (-p.weight, -p.at.timestamp(), p.incident_id))
    return tuple(ordered[:most])


def backing(hypothesis: Hypothesis, precedents: Sequence[Precedent]) -> float:
    """How much precedents speak for it, 0–1: the weightiest good outcome of the same category.

    Nothing where the hypothesis has no deterministic support of its own.
    """
    if not hypothesis.support.deterministic or not hypothesis.evidence:
        return 0.0
    same = [
        p.weight
        for p in precedents
        if p.category == hypothesis.category.value and outcome_weight(p.outcome) > _FAILED
    ]
    return max(same, default=0.0)


def supported(hypothesis: Hypothesis, precedents: Sequence[Precedent]) -> float:
    """Its confidence with what precedents add: at most 0.05, within its ceiling, the verdict as it was."""
    value = hypothesis.confidence
    most = ceiling_of(hypothesis.support)
    for line in (HYPOTHESIS_FROM, ROOT_CAUSE_FROM):
        if value < line:
            most = min(most, line - 0.01)
    raised = min(value + MOST_BONUS * backing(hypothesis, precedents), most)
    return round(max(value, raised), 2)
