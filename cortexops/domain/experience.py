"""What people's words on earlier diagnoses change in the order of hypotheses: little, bounded, and said.

From the words that stand now bounded adjustments are computed, anew each time: taking a word back restores
exactly what was before. They apply after the deterministic ranking, move what has evidence of its own, and
the verdict is worded anew from what comes out.

On the very same workload one word counts at once; of others' like it, many are needed (a Beta(1, 4) prior).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Lean, rank, verdict_of
from cortexops.domain.feedback import Feedback, standing
from cortexops.domain.precedent import Moved, Precedent
from cortexops.domain.recall import backing, supported
from cortexops.domain.resource import Frozen, ResourceRef
from cortexops.domain.words import counted

MOST_LOWERED_HERE, MOST_LOWERED_ELSEWHERE = 0.4, 0.3
MOST_RAISED_HERE, MOST_RAISED_ELSEWHERE = 0.2, 0.1
ENOUGH_IN_NAMESPACE = 3
"""Incidents of one namespace with words on them; with fewer, those of the whole cluster are asked."""
_PRIOR_WRONG, _PRIOR_RIGHT = 1.0, 4.0
_NOTICED = 0.4  # share from which words about other workloads say something; two alone hardly reach it


class Scope(StrEnum):
    """Where the words were said: the nearest scope that has any counts."""

    WORKLOAD = "workload"
    NAMESPACE = "namespace"
    CLUSTER = "cluster"


class Place(NamedTuple):
    """What an adjustment holds for. `target` is the key of a workload, or `shape` says which alike."""

    scope: Scope
    cluster: str
    namespace: str
    target: str
    shape: str


class Adjustment(Frozen):
    """One present effect of people's words on hypotheses of `category` (and on `resource`, if it is named)."""

    scope: Scope
    cluster: str
    namespace: str = ""
    target: str = ""
    shape: str = ""
    category: Category | None = None
    resource: ResourceRef | None = None
    by: float
    """Added to the confidence; below zero it lowers."""
    last: bool = False
    incidents: tuple[str, ...]
    words: int
    why: str

    def concerns(self, hypothesis: Hypothesis) -> bool:
        """Whether the hypothesis is of this category and about this resource, as far as they are named."""
        return (self.category is None or self.category is hypothesis.category) and (
            self.resource is None or self.resource == hypothesis.resource
        )


def adjustments(rows: Iterable[Feedback]) -> tuple[Adjustment, ...]:
    """Every present effect of these rows, in whatever order they come. Nothing of words that were taken back."""
    words = standing(rows)
    return tuple(sorted((*_lowered(words), *_raised(words)), key=_order))


def _order(found: Adjustment) -> tuple[str, ...]:
    return (
        found.cluster, found.namespace, found.scope, found.target, found.shape, found.category or "",
        str(found.resource or ""), f"{found.by:.3f}",
    )  # fmt: skip


def _places(word: Feedback) -> list[Place]:
    """The places that the word tells of, the nearest first."""
    target = word.target
    return [
        Place(Scope.WORKLOAD, target.cluster, target.namespace, target.key, ""),
        Place(Scope.NAMESPACE, target.cluster, target.namespace, "", word.shape),
        Place(Scope.CLUSTER, target.cluster, "", "", word.shape),
    ]


def _shares(words: Sequence[Feedback]) -> dict[str, float]:
    """How wrong each incident's diagnosis was called, the mean over people: many voices are one incident."""
    said: dict[str, list[float]] = defaultdict(list)
    for word in words:
        said[word.incident_id].append(word.rating.wrong)
    return {incident: sum(values) / len(values) for incident, values in sorted(said.items())}


def _lowered(words: Sequence[Feedback]) -> list[Adjustment]:
    groups: dict[tuple[Place, Category], list[Feedback]] = defaultdict(list)
    for word in words:
        if word.category is not None:
            for place in _places(word):
                groups[place, word.category].append(word)
    found = []
    for (place, category), members in groups.items():
        shares = _shares(members)
        wrong, number = sum(shares.values()), len(shares)
        here = place.scope is Scope.WORKLOAD
        by = -(MOST_LOWERED_HERE * wrong / (number + 1) if here else _elsewhere(wrong, number))
        last = here and wrong > number - wrong
        silent = place.scope is Scope.NAMESPACE and number < ENOUGH_IN_NAMESPACE
        if not silent and (last or round(by, 3)):
            text = f"wrong in {wrong:g} of {counted(number, 'incident')}"
            found.append(_made(place, members, by, text, category=category, last=last))
        elif not here and not silent and number:  # words that say nothing still outweigh a wider scope
            found.append(_made(place, members, 0.0, "too few or mostly right", category=category))
    return found


def _raised(words: Sequence[Feedback]) -> list[Adjustment]:
    groups: dict[tuple[Place, Category | None, ResourceRef | None], list[Feedback]] = defaultdict(list)
    for word in words:
        if not word.names_cause:
            continue
        for place in _places(word):
            if place.scope is Scope.WORKLOAD:
                groups[place, word.true_category, word.true_resource].append(word)
            elif word.true_category is not None:  # another workload has other objects: the category stays
                groups[place, word.true_category, None].append(word)
    found = []
    for (place, category, resource), members in groups.items():
        number = len({word.incident_id for word in members})
        here = place.scope is Scope.WORKLOAD
        by = (
            MOST_RAISED_HERE * number / (number + 1)
            if here
            else _elsewhere(number, number) * MOST_RAISED_ELSEWHERE / MOST_LOWERED_ELSEWHERE
        )
        silent = place.scope is Scope.NAMESPACE and number < ENOUGH_IN_NAMESPACE
        if not silent and round(by, 3):
            text = f"named as the true cause of {counted(number, 'incident')}"
            found.append(_made(place, members, by, text, category=category, resource=resource))
    return found


def _elsewhere(wrong: float, number: int) -> float:
    """From the posterior share under the prior: nothing up to 0.4, then growing towards the most."""
    share = (_PRIOR_WRONG + wrong) / (_PRIOR_WRONG + _PRIOR_RIGHT + number)
    return MOST_LOWERED_ELSEWHERE * max(0.0, share - _NOTICED) / (1 - _NOTICED)


def _made(
    place: Place,
    members: Sequence[Feedback],
    by: float,
    why: str,
    *,
    category: Category | None,
    resource: ResourceRef | None = None,
    last: bool = False,
) -> Adjustment:
    return Adjustment(
        **place._asdict(),
        category=category,
        resource=resource,
        by=round(by, 3),
        last=last,
        incidents=tuple(sorted({word.incident_id for word in members})),
        words=len(members),
        why=why,
    )


def applied(
    diagnosis: Diagnosis, found: Sequence[Adjustment], precedents: Sequence[Precedent] = ()
) -> Diagnosis:
    """The diagnosis as experience leaves it: reordered where people's words say so, precedents cited.

    Without adjustments and precedents it is the same. No hypothesis is added or taken away, none goes above
    its ceiling, and precedents decide among equals only.
    """
    diagnosis = diagnosis.model_copy(
        update={"precedents": tuple(precedents), "similar": tuple(str(p) for p in precedents)}
        if precedents
        else {}
    )
    if not diagnosis.hypotheses:
        return diagnosis
    given = list(diagnosis.hypotheses)
    moved = {index: move for index, h in enumerate(given) if (move := _move(diagnosis, h, found))}
    leans = {
        _key(h): Lean(
            shift=moved[index].by if index in moved else 0.0,
            last=index in moved and moved[index].last,
            tie=backing(h, precedents),
        )
        for index, h in enumerate(given)
    }
    # A first place that the plain ranking would not give comes from elsewhere: equals are not decided anew.
    plain = [_key(h) for h in rank(given)] == [_key(h) for h in given]
    ranked = rank(given, lambda h: leans[_key(h)]) if moved or (plain and precedents) else given
    lead = ranked[0]
    its = leans[_key(lead)]
    if its.shift >= 0 and not its.last:
        ranked[0] = lead.model_copy(update={"confidence": supported(lead, precedents)})
    if ranked == given:
        return diagnosis
    cited = {*ranked[0].evidence, *ranked[0].against}
    past = [tuple(moved[index].incidents) for index in sorted(moved)] or [
        tuple(p.incident_id for p in precedents)
    ]
    other = _key(ranked[0]) != _key(given[0])
    return diagnosis.model_copy(
        update={
            "hypotheses": tuple(ranked),
            "verdict": verdict_of(ranked, healthy=False),
            "evidence": tuple(sorted(diagnosis.evidence, key=lambda fact: fact.id not in cited)),
            "moved": tuple(moved[index] for index in sorted(moved)),
            "led_by": tuple(dict.fromkeys(i for incidents in past for i in incidents)) if other else (),
        }
    )


def _key(hypothesis: Hypothesis) -> tuple[str, ...]:
    return hypothesis.resource.key, hypothesis.category, hypothesis.container, hypothesis.summary


def _move(diagnosis: Diagnosis, hypothesis: Hypothesis, found: Sequence[Adjustment]) -> Moved | None:
    """What the nearest words say of it: the true cause is raised, and not lowered at the same time."""
    raising = _nearest(diagnosis, [a for a in found if a.by > 0 and a.concerns(hypothesis)])
    if raising and hypothesis.evidence:
        return _moved(hypothesis, max(raising, key=lambda a: (a.by, _order(a))))
    lowering = _nearest(diagnosis, [a for a in found if a.by <= 0 and a.concerns(hypothesis)])
    return _moved(hypothesis, lowering[0]) if lowering and (lowering[0].by or lowering[0].last) else None


def _nearest(diagnosis: Diagnosis, found: Sequence[Adjustment]) -> list[Adjustment]:
    """Those of the workload, else of its like in the namespace, else of its like in the cluster."""
    target = diagnosis.target
    shape = diagnosis.fingerprint.shape if diagnosis.fingerprint else target.kind
    for scope in Scope:
        held = [
            a
            for a in found
            if a.scope is scope
            and a.cluster == target.cluster
            and (scope is Scope.CLUSTER or a.namespace == target.namespace)
            and (a.target == target.key if scope is Scope.WORKLOAD else a.shape == shape)
        ]
        if held:
            return held
    return []


def _moved(hypothesis: Hypothesis, by: Adjustment) -> Moved:
    return Moved(
        resource=hypothesis.resource,
        category=hypothesis.category.value,
        by=by.by,
        last=by.last,
        incidents=by.incidents,
        why=f"{by.why} ({by.scope})",
    )
