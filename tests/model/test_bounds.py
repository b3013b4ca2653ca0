"""How far a ranking may move what code found."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Verdict, ceiling_of, verdict_of
from cortexops.domain.reasoning_answers import RankAnswer, Shift
from cortexops.domain.reasoning_bounds import INNOCENT, MOST_BEHIND, MOST_SHIFT, eligible, ids, reranked
from cortexops.domain.reasoning_use import Claim
from tests.model.support import API, DB, NODE, a_diagnosis, hypothesis

KNOWN = frozenset({"e1", "e2", "e3"})
_CATEGORIES = (
    Category.CONFIGMAP_CHANGED,
    Category.CRASH,
    Category.DEPENDENCY_DOWN,
    Category.EXTERNAL_DEPENDENCY,
)
_SURE = {
    Verdict.UNKNOWN: 0,
    Verdict.HEALTHY: 0,
    Verdict.EXTERNAL: 1,
    Verdict.HYPOTHESIS: 1,
    Verdict.ROOT_CAUSE: 2,
}


def ranking(order: list[str], **deltas: float) -> RankAnswer:
    shifts = tuple(
        Shift(hypothesis=name, delta=delta, why=Claim(text="shown", cites=("e1",)))
        for name, delta in deltas.items()
    )
    return RankAnswer(order=tuple(order), shifts=shifts, requests=())


def as_code_finds_them(found: list[tuple[Any, Category, float, bool]]) -> Diagnosis:
    """Hypotheses as `cortexops.domain.diagnosis.rank` leaves them: one leads, other objects stay below half."""
    made: list[Hypothesis] = []
    for ref, category, confidence, deterministic in sorted(found, key=lambda each: -each[2]):
        each = hypothesis(ref, category, confidence, deterministic=deterministic)
        top = ceiling_of(each.support)
        if made:
            top = min(top, made[0].confidence if each.resource == made[0].resource else 0.49)
        made.append(each.model_copy(update={"confidence": round(min(confidence, top), 2)}))
    return a_diagnosis(*made).model_copy(update={"verdict": verdict_of(made, healthy=False)})


_FOUND = st.lists(
    st.tuples(
        st.sampled_from([API, DB, NODE]), st.sampled_from(_CATEGORIES), st.floats(0.15, 0.97), st.booleans()
    ),
    min_size=1,
    max_size=5,
)
_NAMES = st.sampled_from(["h1", "h2", "h3", "h4", "h5", "h9", "x"])
_CLAIMS = st.builds(
    Claim,
    text=st.sampled_from(["it shows", "", "kubectl delete pod x"]),
    cites=st.sampled_from([("e1",), (), ("e9",)]),
)
_RANKINGS = st.builds(
    RankAnswer,
    order=st.lists(_NAMES, max_size=8).map(tuple),
    shifts=st.lists(
        st.builds(
            Shift, hypothesis=_NAMES, delta=st.floats(allow_nan=True, allow_infinity=True), why=_CLAIMS
        ),
        max_size=8,
    ).map(tuple),
    requests=st.just(()),
)


@given(_FOUND, _RANKINGS)
def test_no_ranking_leaves_the_bounds(found: list[Any], answer: RankAnswer) -> None:
    before = as_code_finds_them(found)
    result = reranked(before, answer, KNOWN)
    after = result.diagnosis
    known = ids(before)
    lead, was = after.hypotheses[0], before.hypotheses[0]
    # the same hypotheses, nothing added, nothing lost, nothing but the confidence changed
    plain = [h.model_copy(update={"confidence": 0.0}) for h in after.hypotheses]
    assert sorted(map(str, plain)) == sorted(
        str(h.model_copy(update={"confidence": 0.0})) for h in before.hypotheses
    )
    assert _SURE[after.verdict] <= _SURE[before.verdict]
    assert (after.cause is None) == (before.cause is None)
    assert lead.model_copy(update={"confidence": 0.0}) == known[result.lead].model_copy(
        update={"confidence": 0.0}
    )
    assert was.confidence - known[result.lead].confidence <= MOST_BEHIND + 1e-9
    assert abs(lead.confidence - known[result.lead].confidence) <= MOST_SHIFT + 1e-9
    if before.verdict is Verdict.ROOT_CAUSE:
        assert lead.resource == was.resource
        assert result.lead == "h1" or after.verdict is Verdict.HYPOTHESIS
    for each in after.hypotheses:
        assert 0 <= each.confidence <= ceiling_of(each.support)
        if each.resource != was.resource:
            assert each.confidence <= INNOCENT
    assert sum(h.confidence > 0.5 for h in after.hypotheses if h.resource != lead.resource) == 0


@given(_FOUND)
def test_a_ranking_that_says_nothing_changes_nothing(found: list[Any]) -> None:
    before = as_code_finds_them(found)
    result = reranked(before, ranking([]), KNOWN)
    assert result.diagnosis.hypotheses[0] == before.hypotheses[0]
    assert result.diagnosis.verdict is before.verdict
    assert not result.moved and result.cut == 0


def test_a_close_hypothesis_may_lead_when_the_model_cites_evidence_for_it() -> None:
    found = (hypothesis(confidence=0.55), hypothesis(DB, Category.CRASH, 0.48))
    before = a_diagnosis(*found, verdict=Verdict.HYPOTHESIS)
    assert eligible(before, "h2")
    after = reranked(before, ranking(["h2", "h1"], h2=0.1), KNOWN)
    assert after.lead == "h2" and after.diagnosis.hypotheses[0].resource == DB
    assert after.diagnosis.hypotheses[0].confidence == INNOCENT
    assert after.diagnosis.verdict is Verdict.HYPOTHESIS
    without_reason = reranked(before, ranking(["h2", "h1"]), KNOWN)
    assert without_reason.lead == "h1" and without_reason.clamped


def test_a_root_cause_is_not_moved_to_a_hypothesis_far_behind() -> None:
    found = (hypothesis(confidence=0.8), hypothesis(category=Category.CRASH, confidence=0.6))
    after = reranked(a_diagnosis(*found), ranking(["h2", "h1"], h2=0.1, h1=-0.1), KNOWN)
    assert after.lead == "h1"
    assert [h.confidence for h in after.diagnosis.hypotheses] == [0.7, 0.7]


def test_without_deterministic_support_nothing_is_raised_above_its_ceiling() -> None:
    found = (hypothesis(confidence=0.58, deterministic=False),)
    after = reranked(a_diagnosis(*found, verdict=Verdict.HYPOTHESIS), ranking(["h1"], h1=0.1), KNOWN)
    assert after.diagnosis.hypotheses[0].confidence == 0.6


def test_a_model_never_makes_a_hypothesis_the_root_cause() -> None:
    found = (hypothesis(confidence=0.68),)
    after = reranked(a_diagnosis(*found, verdict=Verdict.HYPOTHESIS), ranking(["h1"], h1=0.1), KNOWN)
    assert after.diagnosis.verdict is Verdict.HYPOTHESIS
    assert after.diagnosis.hypotheses[0].confidence == 0.69


def test_automation_relies_on_no_more_than_code_found() -> None:
    from cortexops.domain.reasoning_use import ModelUse, Outcome

    raised = a_diagnosis(hypothesis(confidence=0.9))
    used = raised.model_copy(update={"model": ModelUse(outcome=Outcome.ANSWERED, measured=0.82)})
    assert (raised.sure, used.sure) == (0.9, 0.82)
    lowered = used.model_copy(update={"model": ModelUse(outcome=Outcome.ANSWERED, measured=0.95)})
    assert lowered.sure == 0.9
