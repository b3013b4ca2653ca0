"""From a finished reasoning to the diagnosis that is stored and shown."""

from __future__ import annotations

from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.evidence import Evidence
from cortexops.domain.reasoning import Thinking
from cortexops.domain.reasoning_bounds import Reranked
from cortexops.domain.reasoning_use import Claim, ModelUse, Outcome
from cortexops.domain.words import counted

MOST_EVIDENCE = 60

_WHY_NOT = {
    Outcome.OFF: "no model is configured",
    Outcome.TIMEOUT: "the model did not answer in time",
    Outcome.RATE_LIMITED: "the model's endpoint was too busy",
    Outcome.UNAVAILABLE: "the model's endpoint could not be reached or failed",
    Outcome.REJECTED: "the model's endpoint refused the request",
    Outcome.REFUSED: "the model declined to answer",
    Outcome.TRUNCATED: "the model's answer was cut off",
    Outcome.INVALID: "the model's answer was not of the form that was asked for",
    Outcome.BUDGET: "the budget of the incident for models was used up",
    Outcome.BREAKER_OPEN: "the model's endpoint has failed lately and is not asked",
    Outcome.WITHHELD: "what would have been sent was not fit to leave",
}


def conclude_with_model(diagnosis: Diagnosis, state: Thinking, outcome: Outcome) -> Diagnosis:
    """The diagnosis with what stands of the model's part, and what it cost in any case.

    `llm_used` says whether anything of it was used; when nothing was, all but `model` is as code found it.
    Evidence that only the model cites is kept with it.
    """
    ranking = state.ranking
    moved = ranking is not None and ranking.moved
    summaries = (state.summary,) if state.summary else ()
    reasons = ranking.claims if moved and ranking is not None else ()
    evidence = _evidence(
        diagnosis, state, (*summaries, *state.whys, *reasons, *state.narrative, *state.facts)
    )
    kept = {fact.id for fact in evidence}

    def shown(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
        return tuple(claim for claim in claims if kept.issuperset(claim.cites))

    summary = next(iter(shown(summaries)), None)
    whys, narrative, facts = shown(state.whys), shown(state.narrative), shown(state.facts)
    use = ModelUse(
        outcome=outcome,
        spent=state.used,
        models=state.models,
        rounds=state.round if state.spent.calls else 0,
        cut_claims=state.cut,
        refused_requests=state.refused,
        reordered=ranking is not None and ranking.lead not in ("", "h1"),
        measured=_measured(diagnosis, ranking),
        summary=summary,
        whys=whys,
        narrative=narrative,
        facts=facts,
        caveats=_caveats(state, outcome),
    )
    ranked = ranking.diagnosis if moved and ranking is not None else diagnosis
    return diagnosis.model_copy(
        update={
            "hypotheses": ranked.hypotheses,
            "verdict": ranked.verdict,
            "evidence": evidence,
            "llm_used": moved or summary is not None or bool(whys or narrative or facts),
            "model": use,
        }
    )


def _measured(diagnosis: Diagnosis, ranking: Reranked | None) -> float | None:
    """What code gave to the hypothesis that leads now."""
    if not diagnosis.hypotheses:
        return None
    place = int(ranking.lead[1:]) - 1 if ranking is not None and ranking.lead else 0
    return diagnosis.hypotheses[place].confidence


def _evidence(diagnosis: Diagnosis, state: Thinking, claims: tuple[Claim, ...]) -> tuple[Evidence, ...]:
    """Everything that code cites, then what the model cites beyond it, as far as there is room."""
    cited = list(dict.fromkeys(id for claim in claims for id in claim.cites))
    further = [fact for id in cited for fact in state.brief.further if fact.id == id]
    room = max(0, MOST_EVIDENCE - len(diagnosis.evidence))
    return (*diagnosis.evidence, *further[:room])


def _caveats(state: Thinking, outcome: Outcome) -> tuple[str, ...]:
    found = list(state.caveats)
    if state.cut:
        verb = "was" if state.cut == 1 else "were"
        found.append(
            f"{counted(state.cut, 'statement')} of the model {verb} cut: no evidence, invented evidence, "
            "or more than wording."
        )
    if outcome is not Outcome.ANSWERED:
        found.append(f"Without (the rest of) a model's help: {_WHY_NOT[outcome]}.")
    return tuple(found)
