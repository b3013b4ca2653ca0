"""What one answer is worth, what many make, and what may stand in a query."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from activities.actions import ACTIONS
from cortexops.domain.diagnosis import Category
from cortexops.domain.errors import InvalidInput
from cortexops.domain.metric_checks import (
    Compare,
    Finding,
    Match,
    MetricCheck,
    Moment,
    References,
    Scope,
    Seen,
    conclude,
    filled,
    judge,
)
from cortexops.domain.metric_defaults import DEFAULTS
from cortexops.domain.resource import ResourceRef
from cortexops.domain.verification import Phase
from cortexops.settings_verification import VerificationSettings

QUERY = 'sum(rate(errors_total{namespace="{{namespace}}",pod=~"{{pods}}"}[{{range}}]))'
NOTHING = References()
ORDER = [Finding.GOOD, Finding.NO_DATA, Finding.UNSURE, Finding.BAD]
PHASES = [Phase.SUCCESSFUL, Phase.RUNNING, Phase.INCONCLUSIVE, Phase.FAILED]
SHARES = st.floats(0, 1, allow_nan=False)
PAST = st.one_of(st.none(), SHARES)


def check(**changes: Any) -> MetricCheck:
    return MetricCheck(**{"name": "errors", "query": QUERY, **changes})


def scope(kind: str = "Deployment", name: str = "api", **changes: Any) -> Scope:
    ref = ResourceRef(cluster="c", kind=kind, namespace="shop", name=name)
    return Scope(**{"ref": ref, "service": name, **changes})


def found(value: float | None, past: References, *, own: bool = False, **changes: Any) -> Finding:
    contained = changes.pop("contained", False)
    return judge(check(**changes), value, past, own=own, contained=contained).finding


@pytest.mark.parametrize(
    ("value", "past", "own", "finding"),
    [
        (0.05, References(0.05, None), False, Finding.GOOD),
        (0.10, References(0.05, None), False, Finding.BAD),
        (0.40, References(0.40, None), True, Finding.BAD),  # the trouble itself must fall
        (0.30, References(0.40, None), True, Finding.UNSURE),
        (0.10, References(0.40, None), True, Finding.GOOD),
        (0.40, References(0.40, 0.01), True, Finding.BAD),
        (0.01, References(0.40, 0.01), True, Finding.GOOD),
        (0.40, References(0.40, 0.01), False, Finding.UNSURE),  # no better, and not by the change
        (0.60, References(0.40, 0.01), False, Finding.BAD),
        (0.01, References(0.40, 0.01), False, Finding.GOOD),
        (0.20, References(0.01, 0.20), False, Finding.GOOD),
        (0.20, References(None, 0.01), False, Finding.BAD),
        (0.20, NOTHING, False, Finding.NO_DATA),
        (None, References(0.4, 0.4), False, Finding.NO_DATA),
    ],
)
def test_a_value_is_judged_against_the_time_before(
    value: float | None, past: References, own: bool, finding: Finding
) -> None:
    assert found(value, past, own=own) is finding


def test_up_to_the_floor_everything_is_good() -> None:
    assert found(0.02, NOTHING, floor=0.02) is Finding.GOOD
    assert found(0.02, References(0.0, 0.0), floor=0.02) is Finding.GOOD


def test_fixed_bounds_are_good_themselves() -> None:
    below: dict[str, Any] = {"compare": "below", "threshold": 0.5}
    above: dict[str, Any] = {"compare": "above", "threshold": 0.5}
    assert [found(v, NOTHING, **below) for v in (0.5, 0.6)] == [Finding.GOOD, Finding.BAD]
    assert [found(v, NOTHING, **above) for v in (0.5, 0.4)] == [Finding.GOOD, Finding.BAD]
    assert check(**below).worst([0.1, 0.7]) == 0.7
    assert check(**above).worst([0.1, 0.7]) == 0.1


def test_containing_the_damage_need_not_mend_it_but_must_not_make_it_worse() -> None:
    for past in (References(0.4, 0.01), References(0.4, None)):
        for changes in ({}, {"compare": "below", "threshold": 0.05}):
            assert found(0.4, past, own=True, contained=False, **changes) is Finding.BAD
            assert found(0.4, past, own=True, contained=True, **changes) is Finding.GOOD
            assert found(0.6, past, own=True, contained=True, **changes) is Finding.BAD
    up: dict[str, Any] = {"compare": "above", "threshold": 0.9}
    assert found(0.4, References(0.4, None), contained=True, **up) is Finding.GOOD
    assert found(0.2, References(0.4, None), contained=True, **up) is Finding.BAD


@given(SHARES, SHARES, PAST, PAST, st.booleans(), st.booleans(), SHARES, st.sampled_from(list(Compare)))
def test_a_worse_value_is_never_judged_better(
    one: float,
    other: float,
    before: float | None,
    calm: float | None,
    own: bool,
    contained: bool,
    floor: float,
    compare: Compare,
) -> None:
    better, worse = sorted((one, other), reverse=compare is Compare.ABOVE)
    asked = check(compare=compare, threshold=0.3, floor=floor)
    past = References(before, calm)
    first, second = (
        judge(asked, value, past, own=own, contained=contained).finding for value in (better, worse)
    )
    assert ORDER.index(first) <= ORDER.index(second)


@given(SHARES, PAST, PAST, st.booleans(), st.booleans(), st.sampled_from([2.0**n for n in range(-8, 9)]))
def test_only_the_ratio_to_the_baseline_matters(
    value: float, before: float | None, calm: float | None, own: bool, contained: bool, by: float
) -> None:
    def times(number: float | None) -> float | None:
        return None if number is None else number * by

    if any(number is not None and 0 < number < 1e-300 for number in (value, before, calm)):
        return  # too small to be scaled exactly
    assert found(value, References(before, calm), own=own, contained=contained) is found(
        times(value), References(times(before), times(calm)), own=own, contained=contained
    )


FINDINGS = st.lists(st.sampled_from([Finding.GOOD, Finding.UNSURE, Finding.BAD]), min_size=1, max_size=9)
LIMITS = st.integers(0, 4)


@given(FINDINGS, st.data(), LIMITS, LIMITS, st.integers(1, 4), st.booleans(), st.booleans())
def test_a_worse_answer_anywhere_never_gives_a_better_phase(
    findings: list[Finding], data: st.DataObject, bad: int, unsure: int, least: int, early: bool, last: bool
) -> None:
    at = data.draw(st.integers(0, len(findings) - 1))
    worse = list(findings)
    worse[at] = data.draw(
        st.sampled_from(
            [f for f in ORDER if f is not Finding.NO_DATA and f in ORDER[ORDER.index(worse[at]) :]]
        )
    )
    asked = check(failure_limit=bad, inconclusive_limit=unsure, min_samples=least)
    moment = Moment(early=early, waited=True, last=last)
    first, second = (
        conclude(asked, [Seen(f, "") for f in way], known=True, moment=moment).phase
        for way in (findings, worse)
    )
    assert PHASES.index(first) <= PHASES.index(second)


def phase(
    findings: list[Finding], moment: Moment | None = None, *, known: bool = True, **changes: Any
) -> Phase:
    history = [Seen(finding, "x") for finding in findings]
    return conclude(check(**changes), history, known=known, moment=moment or Moment()).phase


G, U, B, N, E = Finding.GOOD, Finding.UNSURE, Finding.BAD, Finding.NO_DATA, Finding.ERROR


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([G], Phase.SUCCESSFUL),
        ([B, B], Phase.RUNNING),
        ([B, B, B], Phase.FAILED),
        ([B, B, G], Phase.SUCCESSFUL),
        ([B, B, G, B], Phase.RUNNING),
        ([B, E, B, N, B], Phase.FAILED),  # what says nothing breaks no row
        ([U, U], Phase.RUNNING),
        ([U, U, U], Phase.INCONCLUSIVE),
        ([E] * 4, Phase.RUNNING),
        ([E] * 5, Phase.ERROR),
        ([E, E, G, E, E, E], Phase.RUNNING),
        ([N], Phase.RUNNING),
    ],
)
def test_limits_count_answers_in_a_row(findings: list[Finding], expected: Phase) -> None:
    assert phase(findings) is expected


@pytest.mark.parametrize(
    ("finding", "expected"),
    [(B, Phase.FAILED), (U, Phase.INCONCLUSIVE), (E, Phase.ERROR), (N, Phase.INCONCLUSIVE)],
)
def test_the_last_answer_counts_as_it_is(finding: Finding, expected: Phase) -> None:
    assert phase([finding], Moment(waited=True, last=True)) is expected


def test_nothing_is_judged_too_early() -> None:
    assert phase([B, B, B, B], Moment(early=True)) is Phase.RUNNING
    assert phase([G], Moment(early=True)) is Phase.RUNNING


def test_a_check_needs_its_samples() -> None:
    assert phase([G], min_samples=2) is Phase.RUNNING
    assert phase([G, N, G], min_samples=2) is Phase.SUCCESSFUL
    assert phase([G], Moment(waited=True, last=True), min_samples=2) is Phase.INCONCLUSIVE


def test_a_default_check_waits_for_a_metric_that_was_there_and_for_no_other() -> None:
    default = DEFAULTS[0]
    nothing = [Seen(N, "no data")]
    assert conclude(default, nothing, known=True, moment=Moment()).phase is Phase.RUNNING
    left = conclude(default, nothing, known=True, moment=Moment(waited=True))
    assert (left.phase, left.counts) == (Phase.SUCCESSFUL, False)
    unknown = conclude(default, nothing, known=False, moment=Moment())
    assert (unknown.phase, unknown.counts) == (Phase.SUCCESSFUL, False)


def test_a_default_check_that_was_bad_is_not_forgotten_when_it_falls_silent() -> None:
    default = DEFAULTS[0]
    for silence in (N, E):
        history = [Seen(B, "half fail"), Seen(silence, "nothing")]
        assert conclude(default, history, known=True, moment=Moment()).phase is Phase.RUNNING
        end = conclude(default, history, known=True, moment=Moment(waited=True, last=True))
        assert (end.phase, end.counts) == (Phase.INCONCLUSIVE, True)


def test_names_stand_in_queries_escaped_and_pods_as_a_pattern() -> None:
    query = filled(check(), scope(name="a.b"), seconds=1.5)
    assert 'namespace="shop"' in query
    assert 'pod=~"a\\\\.b-[bcdf' in query
    assert query.endswith("[1500ms]))")
    assert 'pod=~"db-[0-9]+"' in filled(check(), scope("StatefulSet", "db"), seconds=1)


@pytest.mark.parametrize(
    "name", ['api"} or vector(1) or x{y="', "api\\", "api\n", "API", "", "x" * 254, "-a"]
)
def test_a_name_that_kubernetes_would_not_take_is_never_put_into_a_query(name: str) -> None:
    with pytest.raises(InvalidInput):
        filled(check(), scope(name=name), seconds=1)
    with pytest.raises(InvalidInput):
        filled(check(), scope(service=name), seconds=1)


@given(st.text())
def test_no_text_at_all_breaks_out_of_its_quotes(name: str) -> None:
    quiet = check(query='x{service="{{service}}"}[{{range}}]')
    try:
        query = filled(quiet, scope(service=name), seconds=1)
    except InvalidInput:
        return
    assert query == f'x{{service="{name}"}}[1000ms]'
    assert not set(name) & set('"\\\n{}')


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ('x{a="{{password}}"}[{{range}}]', "is not one of"),
        ("x{a={{service}}}[{{range}}]", "double quotes"),
        ("x{a='{{service}}'}[{{range}}]", "double quotes"),
        ('x{a="\\"",b={{service}}}[{{range}}]', "double quotes"),
        ('x{a="{{service}}"}[5m]', "needs"),
    ],
)
def test_a_template_with_a_wrong_place_is_refused(query: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        check(query=query)


def test_a_fixed_bound_must_be_given_and_names_are_names() -> None:
    with pytest.raises(ValidationError, match="needs a threshold"):
        check(compare="below")
    with pytest.raises(ValidationError, match="same name"):
        VerificationSettings(checks=(check(), check()))


def test_a_check_is_asked_where_it_matches_and_nowhere_else() -> None:
    here = scope(category="crash")
    assert Match().covers(here)
    for field, good, wrong in (
        ("clusters", "c", "d"),
        ("namespaces", "sh*", "pay"),
        ("services", "api", "db"),
        ("kinds", "Deployment", "Node"),
        ("categories", "crash", "memory_leak"),
    ):
        assert Match(**{field: (wrong, good)}).covers(here)
        assert not Match(**{field: (wrong,)}).covers(here)


def test_every_default_is_silent_without_data_and_knows_only_causes_that_exist() -> None:
    assert len({default.name for default in DEFAULTS}) == len(DEFAULTS)
    for default in DEFAULTS:
        assert (default.required, default.on_no_data) == (False, "ignore")
        assert set(default.own) <= set(Category)
        assert not default.match.covers(scope("Node", "node-1"))
    assert DEFAULTS[0].owns("crash")
    assert not DEFAULTS[0].owns("") and not DEFAULTS[0].owns("volume_full")
    assert check(own=("*",)).owns("volume_full")


def test_some_actions_contain_only() -> None:
    assert ACTIONS["cordon_node"].spec.contains_only
