"""What a runbook's checks add to the diagnosis: evidence, and at most a hypothesis.

A runbook knows what its author expected, not what is so. Its word for a cause is therefore never
deterministic support: alone it reaches 0.6 at most, and it cannot make a healthy object ill.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cortexops.domain.conclusion import MOST_EVIDENCE
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict, rank, verdict_of
from cortexops.domain.evidence import Evidence, EvidenceKind
from cortexops.domain.redaction import redact
from cortexops.domain.resource import ResourceRef
from cortexops.domain.runbook_run import RunbookRun

_DIRECT = 0.6
_MOST_HYPOTHESES = 8
_LONGEST = 500  # characters
_UNMOVED = frozenset({Verdict.HEALTHY, Verdict.EXTERNAL})


class Fact(NamedTuple):
    """What one check saw; `step` is its id."""

    step: str
    kind: EvidenceKind
    resource: ResourceRef
    summary: str
    command: str = ""


class Said(NamedTuple):
    """What the outcome of a check says about a cause, for (`supports`) or against it."""

    step: str
    title: str
    category: Category
    resource: ResourceRef
    supports: bool


def feed(
    diagnosis: Diagnosis, run: RunbookRun, facts: Sequence[Fact], said: Sequence[Said], *, healthy: bool
) -> Diagnosis:
    """The diagnosis with the run, its facts as evidence, and the hypotheses ranked again if it says something.

    What analyzers found keeps its own support; a runbook can cite for it, and one fact a step against it.
    """
    evidence, ids = _cited(diagnosis.evidence, facts)
    steps = tuple(step.model_copy(update={"evidence": ids.get(step.id, "")}) for step in run.steps)
    update: dict[str, object] = {"evidence": evidence, "runbook": run.model_copy(update={"steps": steps})}
    weighed = _weighed(list(diagnosis.hypotheses), [one for one in said if one.step in ids], ids)
    judged = bool(diagnosis.moved) or diagnosis.model is not None  # whose order is not to be lost again
    if diagnosis.verdict not in _UNMOVED and not judged and weighed != list(diagnosis.hypotheses):
        ranked = rank(weighed)[:_MOST_HYPOTHESES]
        update |= {"hypotheses": tuple(ranked), "verdict": verdict_of(ranked, healthy=healthy)}
    return diagnosis.model_copy(update=update)


def _cited(
    evidence: Sequence[Evidence], facts: Sequence[Fact]
) -> tuple[tuple[Evidence, ...], dict[str, str]]:
    """The evidence with the facts after it as far as there is room, and the id of each step's fact."""
    known = {(fact.kind, fact.resource, fact.summary): fact.id for fact in evidence}
    number = max((int(fact.id[1:]) for fact in evidence if fact.id[1:].isdigit()), default=0)
    found, ids = list(evidence), {}
    for fact in facts:
        summary = redact(fact.summary).text[:_LONGEST]
        key = (fact.kind, fact.resource, summary)
        if key not in known:
            if len(found) >= MOST_EVIDENCE:
                continue
            number += 1
            known[key] = f"e{number}"
            found.append(
                Evidence(
                    id=known[key],
                    kind=fact.kind,
                    resource=fact.resource,
                    summary=summary,
                    command=fact.command,
                )
            )
        ids[fact.step] = known[key]
    return tuple(found), ids


def _weighed(hypotheses: list[Hypothesis], said: Sequence[Said], ids: dict[str, str]) -> list[Hypothesis]:
    for one in said:
        id = ids[one.step]
        place = next(
            (n for n, h in enumerate(hypotheses) if (h.category, h.resource) == (one.category, one.resource)),
            None,
        )
        if place is None:
            if one.supports:
                hypotheses.append(_new(one, id))
            continue
        cited = hypotheses[place]
        if id in cited.evidence or id in cited.against:
            continue
        field = "evidence" if one.supports else "against"
        hypotheses[place] = cited.model_copy(update={field: (*getattr(cited, field), id)})
    return hypotheses


def _new(said: Said, id: str) -> Hypothesis:
    return Hypothesis(
        resource=said.resource,
        category=said.category,
        summary=f"{said.resource}: {said.category.value.replace('_', ' ')}, as the runbook's check "
        f"'{said.title}' suggests",
        support=Support(direct=_DIRECT, deterministic=False),
        evidence=(id,),
    )
