"""Values from alerts and clusters stay values, wherever a runbook puts them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.errors import InvalidInput
from cortexops.domain.runbook import Expect
from cortexops.domain.runbook_condition import NotComparable, holds, worded
from cortexops.domain.runbook_template import (
    Missing,
    check_query,
    kind_name,
    names_in,
    object_name,
    parameter,
    promql,
    wording,
)

QUERY = 'sum(up{ns="{{ ns }}",pod=~"{{ pod }}-.*"})'


def test_a_value_in_a_query_is_a_quoted_label_value() -> None:
    injected = {"ns": 'x"} or vector(1) or up{a="', "pod": 'a.b"|.*'}
    assert promql(QUERY, injected) == (
        'sum(up{ns="x\\"} or vector(1) or up{a=\\"",pod=~"a\\\\.b\\"\\\\|\\\\.\\\\*-.*"})'
    )


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_value_leaves_the_quotes_of_a_query(ns: str, pod: str) -> None:
    try:
        query = promql(QUERY, {"ns": ns, "pod": pod})
    except Missing:
        return
    skeleton = re.sub(r'"(?:[^"\\]|\\.)*"', '""', query)
    assert skeleton == 'sum(up{ns="",pod=~""})'
    assert "\n" not in query


@pytest.mark.parametrize(
    "value",
    [
        "../../secrets/x",
        "a/b",
        "a b",
        "A",
        "x\n",
        "",
        "-x",
        "{{ name }}",
        "$(id)",
        "a" * 300,
        "пример",
        "x\u0000",
    ],
)
def test_what_is_no_name_never_becomes_one(value: str) -> None:
    with pytest.raises(Missing):
        object_name("{{ v }}", {"v": value})
    with pytest.raises(Missing):
        kind_name("{{ v }}", {"v": value + "/"})


@pytest.mark.parametrize("value", ["a; rm -rf /", "$(x)", "a\nb", "", "x" * 300, "`x`"])
def test_what_is_no_plain_word_never_becomes_a_parameter(value: str) -> None:
    with pytest.raises(Missing):
        parameter("{{ v }}", {"v": value})


def test_a_parameter_keeps_the_values_type() -> None:
    assert parameter("{{ v }}", {"v": 3}) == 3 and parameter("v{{ v }}", {"v": 3}) == "v3"
    assert parameter(5, {}) == 5 and parameter(True, {}) is True


def test_a_value_is_not_read_as_a_template_again() -> None:
    assert wording("{{ a }}", {"a": "{{ b }}", "b": "secret"}) == "{{ b }}"
    assert wording("{{ a }} {{ c }}", {"a": "x\x1b[2J"}) == "x [2J (c is not known)"


@pytest.mark.parametrize(
    "text", ["{{ a + b }}", "{{ a() }}", "{{ a|b }}", "{{", "}}", "{% if %}", "{{ 'x' }}", "{{}}"]
)
def test_only_names_stand_between_braces(text: str) -> None:
    with pytest.raises(InvalidInput):
        names_in(text)


@pytest.mark.parametrize(
    "query", ['up{a="{{ n }}} ', "up{a=`{{ n }}`}", "up{{ n }}", "up # {{ n }}", 'x["{{ n }}']
)
def test_a_place_outside_of_double_quotes_is_refused(query: str) -> None:
    with pytest.raises(InvalidInput):
        check_query(query)


@pytest.mark.parametrize(
    ("expect", "value", "held"),
    [
        ({"at_least": 2}, 2, True),
        ({"at_least": 2}, "2", True),
        ({"less_than": "1Gi"}, "512Mi", True),
        ({"more_than": "250m"}, "1", True),
        ({"equals": True}, True, True),
        ({"equals": 1}, True, False),
        ({"equals": "1Gi"}, "1024Mi", False),
        ({"one_of": ["A", "B"]}, "B", True),
        ({"not_equals": True}, None, True),
        ({"equals": 0}, None, False),
        ({"exists": False}, None, True),
        ({"exists": True}, None, False),
        ({"exists": True, "equals": 1}, None, False),
        ({"contains": "oom"}, "an oom kill", True),
        ({"at_least": 1, "at_most": 3}, 4, False),
        ({"equals": "{{ x }}"}, 7, True),
    ],
)
def test_a_condition_holds_as_people_read_it(expect, value, held) -> None:
    assert holds(Expect(**expect), value, {"x": 7}) is held
    assert worded(Expect(**expect), {"x": 7}) or expect == {"equals": ""}


@pytest.mark.parametrize("value", ["ready", True, "NaN"])
def test_what_has_no_order_is_said_to_have_none(value) -> None:
    with pytest.raises(NotComparable):
        holds(Expect(at_least=1), value, {})
