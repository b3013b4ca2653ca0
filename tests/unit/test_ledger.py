"""Ledger rows: legal steps, and what a look at the object says after a crash."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.change import OPERATION_ANNOTATION, Change, Verb, edit
from cortexops.domain.errors import PermanentError
from cortexops.domain.ledger import (
    LEDGER_STEPS,
    Effect,
    LedgerState,
    check_ledger_step,
    effect_of_delete,
    effect_of_patch,
)
from cortexops.domain.resource import JSON, ResourceRef

_L = LedgerState
API = ResourceRef(cluster="test", kind="Deployment", namespace="shop", name="api")


def live(**spec: Any) -> JSON:
    return {"metadata": {"uid": "u1", "generation": 3, "annotations": {}}, "spec": {"replicas": 1, **spec}}


def change(verb: Verb = Verb.PATCH) -> Change:
    return Change(
        verb=verb, target=API, uid="u1", edits=(edit(live(), "/spec/replicas", 2),), operation_id="op-1"
    )


@given(st.sampled_from(LedgerState), st.sampled_from(LedgerState))
def test_only_the_steps_of_the_table_are_legal(before: LedgerState, after: LedgerState) -> None:
    if before is after or after in LEDGER_STEPS[before]:
        check_ledger_step(before, after)
    else:
        with pytest.raises(PermanentError):
            check_ledger_step(before, after)


def test_nothing_becomes_verified_that_was_not_applied() -> None:
    assert [state for state, to in LEDGER_STEPS.items() if _L.VERIFIED in to] == [_L.APPLIED]


def test_what_was_refused_or_taken_back_stays_so() -> None:
    assert not LEDGER_STEPS[_L.REFUSED]
    assert not LEDGER_STEPS[_L.COMPENSATED]
    assert _L.REFUSED not in LEDGER_STEPS[_L.APPLIED] | LEDGER_STEPS[_L.VERIFIED]


def test_every_settled_change_may_turn_out_unknown() -> None:
    for state in (_L.INTENT, _L.APPLIED, _L.VERIFIED):
        assert _L.UNKNOWN in LEDGER_STEPS[state]


def test_an_object_that_carries_the_operation_says_done_whatever_came_after() -> None:
    after = live(replicas=7)
    after["metadata"]["annotations"][OPERATION_ANNOTATION] = "op-1"
    assert effect_of_patch(change(), after) is Effect.DONE


def test_an_untouched_object_says_not_done() -> None:
    assert effect_of_patch(change(), live(paused=True)) is Effect.NOT_DONE


@pytest.mark.parametrize("field", [2, 5, True, None])
def test_a_field_with_another_value_and_no_mark_cannot_be_told(field: Any) -> None:
    assert effect_of_patch(change(), live(replicas=field)) is Effect.UNKNOWN


def test_a_patched_object_that_is_gone_or_replaced_cannot_be_told() -> None:
    other = copy.deepcopy(live())
    other["metadata"]["uid"] = "u2"
    assert effect_of_patch(change(), None) is Effect.UNKNOWN
    assert effect_of_patch(change(), other) is Effect.UNKNOWN


def test_a_delete_is_done_when_that_very_object_is_gone_or_going() -> None:
    going, other = live(), live()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    other["metadata"]["uid"] = "u2"
    for seen in (None, going, other):
        assert effect_of_delete(change(Verb.DELETE), seen) is Effect.DONE
    assert effect_of_delete(change(Verb.DELETE), live()) is Effect.NOT_DONE
