"""What people's words do to the order of hypotheses: bounded, visible, and undone without a trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.approval import Person
from cortexops.domain.diagnosis import (
    Category,
    Diagnosis,
    Hypothesis,
    Support,
    Verdict,
    ceiling_of,
    rank,
    verdict_of,
)
from cortexops.domain.experience import (
    MOST_LOWERED_HERE,
    MOST_RAISED_HERE,
    Scope,
    adjustments,
    applied,
)
from cortexops.domain.feedback import Feedback, Rating, standing, undone
from cortexops.domain.precedent import Precedent
from cortexops.domain.resource import ResourceRef

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
ANA = Person(id="ana", name="Ana", via="token")


def ref(
    kind: str = "Deployment", name: str = "api", namespace: str = "shop", cluster: str = "c"
) -> ResourceRef:
    return ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name)


API, CONFIG = ref(), ref("ConfigMap", "api-env")


def claim(resource: ResourceRef, category: Category, direct: float, **changes: Any) -> Hypothesis:
    support = Support(direct=direct, deterministic=changes.pop("deterministic", True))
    base: dict[str, Any] = {"evidence": ("e1",), "summary": f"{category} on {resource}"}
    return Hypothesis(resource=resource, category=category, support=support, **{**base, **changes})


def diagnosed(*hypotheses: Hypothesis, target: ResourceRef = API) -> Diagnosis:
    ranked = rank(list(hypotheses))
    return Diagnosis(target=target, verdict=verdict_of(ranked, healthy=False), hypotheses=tuple(ranked))


OOM = claim(API, Category.OOM_LIMIT_TOO_LOW, 1.0)
CHANGED = claim(CONFIG, Category.CONFIGMAP_CHANGED, 0.8)


def word(number: int = 1, **changes: Any) -> Feedback:
    base: dict[str, Any] = {
        "id": f"fb-{number}",
        "number": number,
        "incident_id": f"INC-20260501-{number:03d}",
        "rating": Rating.INCORRECT,
        "person": "ana",
        "via": "token",
        "at": NOW + timedelta(minutes=number),
        "target": API,
        "category": Category.OOM_LIMIT_TOO_LOW,
        "shape": "Deployment",
    }
    return Feedback(**{**base, **changes})


def lead(diagnosis: Diagnosis) -> Category:
    return diagnosis.hypotheses[0].category


def test_one_incorrect_on_the_same_workload_is_enough_to_lead_no_more() -> None:
    before = diagnosed(OOM, CHANGED)
    assert lead(before) is Category.OOM_LIMIT_TOO_LOW and before.verdict is Verdict.ROOT_CAUSE
    after = applied(before, adjustments([word()]))
    assert [h.category for h in after.hypotheses] == [Category.CONFIGMAP_CHANGED, Category.OOM_LIMIT_TOO_LOW]
    assert [(m.by, m.last, m.incidents) for m in after.moved] == [(-0.2, True, ("INC-20260501-001",))]
    assert "moved by feedback of INC-20260501-001: −0.20" in str(after.moved[0])
    assert after.hypotheses[0].confidence == 0.72 and after.verdict is Verdict.ROOT_CAUSE


def test_with_no_other_hypothesis_it_stays_and_is_less_sure() -> None:
    after = applied(diagnosed(OOM), adjustments([word()]))
    assert lead(after) is Category.OOM_LIMIT_TOO_LOW
    assert after.hypotheses[0].confidence == 0.7 and after.verdict is Verdict.ROOT_CAUSE
    worse = applied(diagnosed(OOM), adjustments([word(n) for n in range(1, 4)]))
    assert worse.hypotheses[0].confidence == 0.6 and worse.verdict is Verdict.HYPOTHESIS


def test_what_the_rejected_cause_explained_is_explained_no_more() -> None:
    crash = claim(API, Category.CRASH, 0.6)
    node = claim(ref("Node", "n1", ""), Category.NODE_PRESSURE, 0.7, explains=(Category.CRASH,))
    before = diagnosed(crash, node)
    assert lead(before) is Category.NODE_PRESSURE
    after = applied(before, adjustments([word(category=Category.NODE_PRESSURE)]))
    assert lead(after) is Category.CRASH and after.hypotheses[0].confidence == 0.54


def test_an_accurate_word_on_a_later_incident_lets_it_lead_again() -> None:
    found = adjustments([word(1), word(2, rating=Rating.ACCURATE)])
    assert not any(a.last for a in found)
    assert lead(applied(diagnosed(OOM, CHANGED), found)) is Category.OOM_LIMIT_TOO_LOW


def test_a_partial_word_lowers_and_does_not_bar() -> None:
    (here, *_) = [a for a in adjustments([word(rating=Rating.PARTIAL)]) if a.scope is Scope.WORKLOAD]
    assert (here.by, here.last) == (-0.1, False)


def test_elsewhere_one_word_changes_nothing_and_many_change_a_little() -> None:
    other = diagnosed(OOM.model_copy(update={"resource": ref(name="web")}), target=ref(name="web"))
    assert applied(other, adjustments([word()])) == other
    many = adjustments([word(n, target=ref(name=f"w{n}")) for n in range(1, 11)])
    after = applied(other, many)
    assert -0.2 < after.moved[0].by < -0.1 and not after.moved[0].last
    namespaces = {a.scope for a in many if not a.target}
    assert namespaces == {Scope.NAMESPACE, Scope.CLUSTER}


def test_another_cluster_learns_nothing() -> None:
    words = [word(n) for n in range(1, 20)]
    far = ref(cluster="far")
    other = diagnosed(OOM.model_copy(update={"resource": far}), target=far)
    assert applied(other, adjustments(words)) == other


def test_a_namespace_with_few_words_asks_the_cluster_and_one_with_many_asks_itself() -> None:
    far = [word(n, target=ref(name=f"w{n}", namespace="far")) for n in range(1, 11)]
    web = ref(name="web")
    other = diagnosed(OOM.model_copy(update={"resource": web}), target=web)
    assert applied(other, adjustments(far)).moved[0].why.endswith("(cluster)")
    right = [word(20 + n, target=ref(name=f"v{n}"), rating=Rating.ACCURATE) for n in range(3)]
    assert applied(other, adjustments([*far, *right])).moved == ()


def test_the_named_true_cause_is_raised_only_if_a_hypothesis_with_evidence_is_about_it() -> None:
    named = word(true_resource=CONFIG, true_category=Category.CONFIGMAP_CHANGED)
    after = applied(diagnosed(OOM, CHANGED), adjustments([named]))
    assert {(m.category, m.by) for m in after.moved} == {
        ("oom_limit_too_low", -0.2),
        ("configmap_changed", 0.1),
    }
    assert after.hypotheses[0].confidence == 0.82
    bare = CHANGED.model_copy(update={"evidence": ()})
    without = applied(diagnosed(OOM, bare), adjustments([named]))
    assert {m.category for m in without.moved} == {"oom_limit_too_low"}
    alone = applied(diagnosed(OOM), adjustments([named]))
    assert [h.category for h in alone.hypotheses] == [Category.OOM_LIMIT_TOO_LOW]


def test_the_right_object_of_the_same_category_is_not_lowered_with_the_wrong_one() -> None:
    other = ref("ConfigMap", "shared-env")
    wrong = claim(CONFIG, Category.CONFIGMAP_CHANGED, 0.9)
    right = claim(other, Category.CONFIGMAP_CHANGED, 0.8)
    said = word(category=Category.CONFIGMAP_CHANGED, true_resource=other)
    after = applied(diagnosed(wrong, right), adjustments([said]))
    assert after.hypotheses[0].resource == other


def test_a_guess_stays_a_hypothesis_however_often_it_is_named() -> None:
    soft = claim(CONFIG, Category.CONFIGMAP_CHANGED, 0.65, deterministic=False)
    named = [word(n, true_category=Category.CONFIGMAP_CHANGED) for n in range(1, 9)]
    after = applied(diagnosed(OOM, soft), adjustments(named))
    assert lead(after) is Category.CONFIGMAP_CHANGED
    assert after.hypotheses[0].confidence == 0.6 and after.verdict is Verdict.HYPOTHESIS


def test_the_later_word_of_a_person_replaces_the_earlier_and_undoing_it_brings_that_back() -> None:
    first = word(1)
    second = word(2, incident_id=first.incident_id, rating=Rating.ACCURATE)
    assert standing([first, second]) == [second]
    back = undone(second, ANA, NOW + timedelta(hours=1)).model_copy(update={"number": 3})
    assert standing([second, back, first]) == [first]


def test_many_voices_on_one_incident_are_one_incident() -> None:
    crowd = [word(n, incident_id="INC-1", person=f"p{n}", target=ref(name="w")) for n in range(1, 30)]
    assert not [a for a in adjustments(crowd) if a.scope is not Scope.WORKLOAD and a.by]


# -- properties ---------------------------------------------------------------------------------------

CATEGORIES = [Category.OOM_LIMIT_TOO_LOW, Category.CONFIGMAP_CHANGED, Category.CRASH, Category.NODE_PRESSURE]
REFS = [API, CONFIG, ref(name="web"), ref("Node", "n1", "")]
hypotheses = st.lists(
    st.builds(
        claim,
        st.sampled_from(REFS),
        st.sampled_from(CATEGORIES),
        st.floats(0.2, 1.0).map(lambda v: round(v, 2)),
        deterministic=st.booleans(),
        explains=st.sets(st.sampled_from(CATEGORIES), max_size=2).map(tuple),
    ),
    max_size=5,
    unique_by=lambda h: (h.resource.key, h.category),
)
words = st.lists(
    st.builds(
        word,
        st.integers(1, 500),
        incident_id=st.sampled_from([f"INC-{n}" for n in range(6)]),
        rating=st.sampled_from(list(Rating)),
        person=st.sampled_from(["ana", "bo"]),
        target=st.sampled_from([API, ref(name="web"), ref(name="x"), ref(namespace="other")]),
        category=st.sampled_from([*CATEGORIES, None]),
        true_category=st.sampled_from([None, *CATEGORIES]),
        true_resource=st.sampled_from([None, *REFS]),
    ),
    max_size=12,
    unique_by=lambda w: w.number,
)


@given(hypotheses, words, st.randoms(use_true_random=False))
def test_the_order_of_rows_is_irrelevant(found: list[Hypothesis], rows: list[Feedback], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert adjustments(rows) == adjustments(shuffled)
    diagnosis = diagnosed(*found)
    assert applied(diagnosis, adjustments(rows)) == applied(diagnosis, adjustments(shuffled))


@given(hypotheses, words, words)
def test_saying_and_taking_back_restores_exactly_what_was(
    found: list[Hypothesis], before: list[Feedback], said: list[Feedback]
) -> None:
    later = [w.model_copy(update={"id": f"later-{w.number}", "number": w.number + 1000}) for w in said]
    back = [undone(w, ANA, NOW).model_copy(update={"number": w.number + 1000}) for w in later]
    diagnosis = diagnosed(*found)
    assert adjustments([*before, *later, *back]) == adjustments(before)
    assert applied(diagnosis, adjustments([*later, *back])) == diagnosis


@given(hypotheses, words)
def test_nothing_leaves_its_bounds_appears_or_vanishes(found: list[Hypothesis], rows: list[Feedback]) -> None:
    moves = adjustments(rows)
    assert all(-MOST_LOWERED_HERE <= a.by <= MOST_RAISED_HERE for a in moves)
    diagnosis = diagnosed(*found)
    after = applied(diagnosis, moves)
    assert {h.summary for h in after.hypotheses} == {h.summary for h in diagnosis.hypotheses}
    assert all(0 <= h.confidence <= ceiling_of(h.support) for h in after.hypotheses)
    if after.hypotheses:
        assert after.verdict is verdict_of(list(after.hypotheses), healthy=False)
        first, last = after.hypotheses[0], [m for m in after.moved if m.last]
        barred = {(m.resource.key, m.category) for m in last}
        if any((h.resource.key, h.category.value) not in barred for h in after.hypotheses):
            assert (first.resource.key, first.category.value) not in barred


def a_precedent(category: str = "configmap_changed", **changes: Any) -> Precedent:
    base: dict[str, Any] = {
        "incident_id": "INC-20260401-001", "at": NOW, "outcome": "RESOLVED", "category": category,
        "resource": "Deployment shop/api", "worked": "rollback_rollout", "likeness": 1.0, "weight": 1.0,
    }  # fmt: skip
    return Precedent(**{**base, **changes})


@given(hypotheses, st.lists(st.builds(a_precedent, st.sampled_from([c.value for c in CATEGORIES]))))
def test_precedents_add_little_never_change_the_verdict_and_decide_among_equals_only(
    found: list[Hypothesis], precedents: list[Precedent]
) -> None:
    before = diagnosed(*found)
    after = applied(before, (), precedents)
    assert after.verdict is before.verdict
    assert len(after.hypotheses) == len(before.hypotheses)
    if not after.hypotheses:
        return
    was, now = before.hypotheses[0], after.hypotheses[0]
    assert was.confidence <= now.confidence <= round(was.confidence + 0.05, 2)
    if not now.support.deterministic:
        assert now.confidence == was.confidence


def test_a_precedent_breaks_a_tie() -> None:
    one = claim(API, Category.CRASH, 0.8)
    other = claim(CONFIG, Category.CONFIGMAP_CHANGED, 0.8)
    before = diagnosed(one, other)
    assert lead(before) is Category.CONFIGMAP_CHANGED  # by name
    after = applied(before, (), [a_precedent("crash", weight=0.9)])
    assert lead(after) is Category.CRASH and after.hypotheses[0].confidence == 0.77
    ahead = diagnosed(one, claim(CONFIG, Category.CONFIGMAP_CHANGED, 0.82))
    assert lead(applied(ahead, (), [a_precedent("crash")])) is Category.CONFIGMAP_CHANGED
