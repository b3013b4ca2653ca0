"""What policy is asked, and that anything but a well-formed answer is a denial."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.policy import Effect, PolicyDecision, read_decision, withdrawn

GOOD: dict[str, Any] = {"effect": "allow", "reasons": ["staging"], "rule": "staging"}


def read(answer: object) -> PolicyDecision:
    return read_decision(answer, revision="r1", engine="opa")


def test_a_well_formed_answer_is_taken_with_its_revision() -> None:
    found = read(GOOD)
    assert (found.effect, found.reasons, found.revision, found.engine) == (
        Effect.ALLOW,
        ("staging",),
        "r1",
        "opa",
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "policy_undefined"),
        (True, "policy_nonsense"),
        ({}, "policy_nonsense"),
        ("allow", "policy_nonsense"),
        ([GOOD], "policy_nonsense"),
        (GOOD | {"effect": "ALLOW"}, "policy_nonsense"),
        (GOOD | {"effect": "sure"}, "policy_nonsense"),
        (GOOD | {"extra": 1}, "policy_nonsense"),
        (GOOD | {"quorum": 0}, "policy_nonsense"),
        (GOOD | {"quorum": 11}, "policy_nonsense"),
        (GOOD | {"expires_seconds": 5}, "policy_nonsense"),
        (GOOD | {"reasons": "because"}, "policy_nonsense"),
        (GOOD | {"reasons": []}, "policy_without_reason"),
    ],
)
def test_anything_else_is_a_denial_that_says_why(answer: object, reason: str) -> None:
    found = read(answer)
    assert (found.effect, found.rule, found.reasons) == (Effect.DENY, "fail_closed", (reason,))


def test_an_answer_cannot_choose_its_own_revision() -> None:
    assert read(GOOD | {"revision": "forged", "engine": "forged"}).revision == "r1"


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.lists(st.text(max_size=3), max_size=2)
)
answers = st.dictionaries(st.sampled_from([*GOOD, "quorum", "roles", "expires_seconds", "x"]), values)


@given(values | answers)
def test_no_answer_breaks_the_reader_or_allows_by_accident(answer: object) -> None:
    found = read(answer)
    if found.effect is not Effect.DENY:
        assert isinstance(answer, dict)
        assert answer["effect"] in ("allow", "require_approval")
        assert found.reasons


def a_decision(effect: Effect, **fields: Any) -> PolicyDecision:
    return PolicyDecision(effect=effect, reasons=("why",), rule="rule", **{"revision": "r1", **fields})


@pytest.mark.parametrize(
    ("before", "now", "stands"),
    [
        ({}, {}, True),
        ({}, {"effect": Effect.ALLOW}, True),
        ({}, {"effect": Effect.DENY}, False),
        ({}, {"effect": Effect.DENY, "revision": ""}, False),
        ({}, {"revision": "r2"}, False),
        ({"quorum": 2}, {"quorum": 1}, True),
        ({"quorum": 1}, {"quorum": 2}, False),
        ({"roles": ("sre",)}, {"roles": ("sre", "oncall")}, True),
        ({"roles": ("sre", "oncall")}, {"roles": ("sre",)}, False),
        ({"roles": ("sre",)}, {}, True),
        ({}, {"roles": ("sre",)}, False),
    ],
)
def test_an_agreement_stands_while_policy_asks_for_no_more(
    before: dict[str, Any], now: dict[str, Any], stands: bool
) -> None:
    then = a_decision(Effect.REQUIRE_APPROVAL, **before)
    why = withdrawn(then, a_decision(**{"effect": Effect.REQUIRE_APPROVAL, **now}))
    assert (why is None) is stands
