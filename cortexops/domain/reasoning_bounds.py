"""How far a model's ranking may move what code found. Everything beyond is cut, whatever the model says.

It orders hypotheses that code found and makes none. A confidence moves by at most 0.1, within the ceilings
of `cortexops.domain.diagnosis`, and only with cited evidence. An object that code did not blame stays at or
below 0.5. Another hypothesis may lead only when code put it within 0.15 of the leading one. A verdict never
becomes surer than code's, and never loses its cause; where model and code disagree about the lead, it is a
hypothesis, and people look.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from cortexops.domain.diagnosis import (
    HYPOTHESIS_FROM,
    ROOT_CAUSE_FROM,
    Category,
    Diagnosis,
    Hypothesis,
    Verdict,
    ceiling_of,
    verdict_of,
)
from cortexops.domain.reasoning_answers import RankAnswer
from cortexops.domain.reasoning_claims import stands
from cortexops.domain.reasoning_use import Claim

MOST_SHIFT = 0.1
MOST_BEHIND = 0.15
INNOCENT = 0.5
_BESIDE_A_CAUSE = 0.49
_BLAMING = (Verdict.ROOT_CAUSE, Verdict.HYPOTHESIS)
_EPSILON = 1e-9


class Reranked(NamedTuple):
    """The diagnosis within the bounds, the place that its lead had (`h2`), and what was cut or cut down."""

    diagnosis: Diagnosis
    lead: str
    moved: bool
    cut: int = 0
    clamped: int = 0
    claims: tuple[Claim, ...] = ()
    """Why confidences were moved, as far as it stands."""


def ids(diagnosis: Diagnosis) -> dict[str, Hypothesis]:
    """Code's hypotheses by the names under which a model sees them: `h1` leads."""
    return {f"h{place}": each for place, each in enumerate(diagnosis.hypotheses, start=1)}


def eligible(diagnosis: Diagnosis, name: str) -> bool:
    """Whether this hypothesis may lead instead of the one that code put first."""
    found = ids(diagnosis)
    if name == "h1" or name not in found or diagnosis.verdict not in _BLAMING:
        return name == "h1" and name in found
    lead, other = found["h1"], found[name]
    if any(
        each.last and (each.resource, each.category) == (other.resource, other.category)
        for each in diagnosis.moved
    ):
        return False  # people said that it was not this
    near = lead.confidence - other.confidence <= MOST_BEHIND + _EPSILON
    kinds = (Category.UNKNOWN, Category.EXTERNAL_DEPENDENCY)
    return (
        near and bool(other.evidence) and other.confidence >= HYPOTHESIS_FROM and other.category not in kinds
    )


def reranked(diagnosis: Diagnosis, ranking: RankAnswer, known: frozenset[str]) -> Reranked:
    """The diagnosis as the model would order it, within the bounds; `known` are the ids of evidence."""
    found = ids(diagnosis)
    if not found:
        return Reranked(diagnosis, "", moved=False)
    moves, claims, cut, clamped = _moves(ranking, found, known)
    order = list(dict.fromkeys(name for name in ranking.order if name in found))
    cut += len(set(ranking.order) - set(found))
    wanted = next(
        (name for name in order if name == "h1" or (name in moves and eligible(diagnosis, name))), "h1"
    )
    clamped += bool(order) and order[0] != wanted
    order = [wanted, *(name for name in [*order, *found] if name != wanted)]
    order = list(dict.fromkeys(order))
    lead = _moved(diagnosis, found[wanted], moves.get(wanted, 0.0), leads=True)
    rest = [
        _beside(lead, _moved(diagnosis, found[name], moves.get(name, 0.0), leads=False)) for name in order[1:]
    ]
    verdict = diagnosis.verdict
    if verdict in _BLAMING:
        computed = verdict_of([lead], healthy=False) if wanted == "h1" else Verdict.HYPOTHESIS
        verdict = Verdict.HYPOTHESIS if Verdict.HYPOTHESIS in (verdict, computed) else computed
    after = diagnosis.model_copy(update={"hypotheses": (lead, *rest), "verdict": verdict})
    moved = after.hypotheses != diagnosis.hypotheses
    return Reranked(after, wanted, moved, cut, clamped, tuple(claims))


def _moves(
    ranking: RankAnswer, found: dict[str, Hypothesis], known: frozenset[str]
) -> tuple[dict[str, float], list[Claim], int, int]:
    """By hypothesis the change that is allowed; only cited ones count, the first for each."""
    moves: dict[str, float] = {}
    claims: list[Claim] = []
    cut = clamped = 0
    for shift in ranking.shifts:
        why = stands(shift.why, known)
        if shift.hypothesis not in found or shift.hypothesis in moves or why is None:
            cut += 1
            continue
        delta = shift.delta if math.isfinite(shift.delta) else 0.0
        bounded = max(-MOST_SHIFT, min(MOST_SHIFT, delta))
        clamped += bounded != shift.delta
        moves[shift.hypothesis] = bounded
        claims.append(why)
    return moves, claims, cut, clamped


def _moved(diagnosis: Diagnosis, hypothesis: Hypothesis, delta: float, *, leads: bool) -> Hypothesis:
    """With its new confidence. What code gave is never cut by a ceiling of raising, only by `delta`."""
    before = hypothesis.confidence
    top = ceiling_of(hypothesis.support)
    if diagnosis.verdict is not Verdict.ROOT_CAUSE:
        top = min(top, ROOT_CAUSE_FROM - 0.01)  # a model makes nothing surer than code is
    if diagnosis.verdict not in _BLAMING:
        top = min(top, HYPOTHESIS_FROM - 0.01)
    if hypothesis.resource != diagnosis.hypotheses[0].resource:
        top = min(top, INNOCENT)
    value = before + delta
    if delta > 0:
        value = max(before, min(value, top))
    floor = HYPOTHESIS_FROM if leads and diagnosis.verdict in _BLAMING and before >= HYPOTHESIS_FROM else 0.0
    return hypothesis.model_copy(update={"confidence": round(max(value, floor), 2)})


def _beside(lead: Hypothesis, other: Hypothesis) -> Hypothesis:
    """There is one cause: what does not lead and names another object stays below half."""
    most = lead.confidence if other.resource == lead.resource else _BESIDE_A_CAUSE
    return other.model_copy(update={"confidence": min(other.confidence, most)})
