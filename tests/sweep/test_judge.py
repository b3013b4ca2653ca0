"""What a look at the object says about a change that nobody settled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.action import Action
from cortexops.domain.change import OPERATION_ANNOTATION, Change, FieldEdit, Verb
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.ledger import LEDGER_STEPS, LedgerRow, LedgerState
from cortexops.domain.resource import JSON
from cortexops.domain.signal import Severity
from cortexops.domain.sweep import REASONS, Outcome, RunState, closed, closing_text, judge
from tests.support.postgres import API, a_draft

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OPERATION = "INC-1.1.1.abc"


def a_row(state: LedgerState, verb: Verb = Verb.PATCH) -> LedgerRow:
    edits = (FieldEdit(path="/spec/replicas", before=0, after=1),) if verb is Verb.PATCH else ()
    return LedgerRow(
        operation_id=OPERATION,
        incident_id="INC-1",
        attempt=1,
        step=1,
        plan_hash="abc",
        action=Action(type="scale_workload", target=API, params={"replicas": 1}),
        change=Change(verb=verb, target=API, uid="u1", generation=1, edits=edits, operation_id=OPERATION),
        snapshot={},
        state=state,
        created_at=NOW,
        updated_at=NOW,
    )


def live(replicas: int, operation: str = "", uid: str = "u1") -> JSON:
    notes = {OPERATION_ANNOTATION: operation} if operation else {}
    return {"metadata": {"uid": uid, "generation": 2, "annotations": notes}, "spec": {"replicas": replicas}}


S, Out = LedgerState, Outcome
CASES: list[tuple[LedgerState, JSON | None, bool, Outcome, tuple[LedgerState, ...]]] = [
    (S.INTENT, live(0), True, Out.NOT_DONE, (S.REFUSED,)),
    (S.INTENT, live(0), False, Out.UNDER_WAY, ()),
    (S.INTENT, live(1, OPERATION), False, Out.IN_PLACE, (S.APPLIED,)),
    (S.INTENT, live(0, OPERATION), True, Out.UNDONE, (S.APPLIED, S.COMPENSATED)),
    (S.INTENT, live(3, OPERATION), True, Out.UNCLEAR, (S.APPLIED, S.UNKNOWN)),
    (S.INTENT, live(3), True, Out.UNCLEAR, (S.UNKNOWN,)),
    (S.INTENT, live(0, uid="u2"), True, Out.UNCLEAR, (S.UNKNOWN,)),
    (S.INTENT, None, False, Out.UNCLEAR, (S.UNKNOWN,)),
    (S.APPLIED, live(1, OPERATION), True, Out.IN_PLACE, ()),
    (S.APPLIED, live(0, f"{OPERATION}.undo"), True, Out.UNDONE, (S.COMPENSATED,)),
    (S.APPLIED, live(0, OPERATION), True, Out.UNDONE, (S.COMPENSATED,)),
    (S.APPLIED, live(3, OPERATION), True, Out.UNCLEAR, (S.UNKNOWN,)),
    (S.APPLIED, None, True, Out.UNCLEAR, (S.UNKNOWN,)),
]


@pytest.mark.parametrize(("state", "seen", "quiet", "outcome", "steps"), CASES)
def test_a_patch_is_judged_by_its_object(
    state: LedgerState, seen: JSON | None, quiet: bool, outcome: Outcome, steps: tuple[LedgerState, ...]
) -> None:
    found = judge(a_row(state), seen, quiet=quiet)
    assert (found.outcome, found.steps) == (outcome, steps)


@pytest.mark.parametrize(
    ("seen", "quiet", "outcome", "steps"),
    [
        (None, True, Out.IN_PLACE, (S.APPLIED,)),
        (live(0, uid="u2"), True, Out.IN_PLACE, (S.APPLIED,)),
        (live(0), True, Out.NOT_DONE, (S.REFUSED,)),
        (live(0), False, Out.UNDER_WAY, ()),
    ],
)
def test_a_deletion_is_judged_by_its_object(
    seen: JSON | None, quiet: bool, outcome: Outcome, steps: tuple[LedgerState, ...]
) -> None:
    found = judge(a_row(S.INTENT, Verb.DELETE), seen, quiet=quiet)
    assert (found.outcome, found.steps, found.reversible) == (outcome, steps, False)


def a_secret(state: LedgerState, version: str = "7") -> LedgerRow:
    target = API.model_copy(update={"kind": "Secret"})
    row = a_row(state)
    masked = FieldEdit(path="/data/password", before="[redacted:by_name]", after="[redacted:by_name]")
    change = row.change.model_copy(update={"target": target, "edits": (masked,)})
    return row.model_copy(update={"change": change, "snapshot": {"resourceVersion": version}})


@pytest.mark.parametrize(
    ("state", "operation", "version", "outcome"),
    [
        (S.INTENT, "", "7", Out.NOT_DONE),
        (S.INTENT, "", "8", Out.UNCLEAR),
        (S.INTENT, OPERATION, "8", Out.IN_PLACE),
        (S.APPLIED, OPERATION, "8", Out.IN_PLACE),
        (S.APPLIED, f"{OPERATION}.undo", "9", Out.UNDONE),
        (S.APPLIED, "", "9", Out.UNCLEAR),
    ],
)
def test_a_secret_is_judged_without_its_values(
    state: LedgerState, operation: str, version: str, outcome: Outcome
) -> None:
    seen = live(0, operation)
    seen["metadata"]["resourceVersion"] = version
    assert judge(a_secret(state), seen, quiet=True).outcome is outcome


def test_only_what_is_ours_and_quiet_may_be_taken_back() -> None:
    assert judge(a_row(S.APPLIED), live(1, OPERATION), quiet=True).reversible
    assert not judge(a_row(S.APPLIED), live(1, OPERATION), quiet=False).reversible
    assert not judge(a_row(S.APPLIED), live(3, OPERATION), quiet=True).reversible


_objects = st.one_of(
    st.none(),
    st.builds(
        live,
        st.integers(0, 3),
        st.sampled_from(["", OPERATION, f"{OPERATION}.undo", "INC-2.1.1.x"]),
        st.sampled_from(["u1", "u2"]),
    ),
)


@given(st.sampled_from([S.INTENT, S.APPLIED]), st.sampled_from(Verb), _objects, st.booleans())
def test_every_verdict_is_a_legal_way_through_the_ledger_and_is_told(
    state: LedgerState, verb: Verb, seen: Any, quiet: bool
) -> None:
    found = judge(a_row(state, verb), seen, quiet=quiet)
    for step in found.steps:
        assert step in LEDGER_STEPS[state]
        state = step
    assert found.outcome.settled or not found.steps
    assert not found.outcome.settled or state is not S.INTENT, "a settled row says what became of it"
    assert found.detail.startswith("scale_workload")
    assert not (found.reversible and (not quiet or found.outcome is not Out.IN_PLACE))


def test_every_end_of_a_run_has_a_reason() -> None:
    assert set(REASONS) == set(RunState) - {RunState.RUNNING}


@given(st.sampled_from(sorted(set(IncidentState))), st.sampled_from(sorted(REASONS)))
def test_a_closed_incident_is_escalated_and_never_ends_before_its_last_news(
    state: IncidentState, run: RunState
) -> None:
    incident: Incident = a_draft(state=state, severity=Severity.LOW, updated_at=NOW)
    end = closed(incident, REASONS[run], datetime(2020, 1, 1, tzinfo=UTC))
    assert (end.state, end.ended_at, end.held_until) == (IncidentState.ESCALATED, NOW, None)
    text = closing_text(incident, run, [a_row(S.UNKNOWN)], ["INC-1-approval-1"])
    assert "a person has to look" in text and "kubectl -n shop patch" in text and "is void" in text
    assert Reason(end.reason).value.startswith("workflow_")
