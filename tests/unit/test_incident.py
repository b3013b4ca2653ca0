"""The table of an incident's transitions."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cortexops.domain.incident import TRANSITIONS, IllegalTransition, IncidentState, check_transition

FINAL = {"RESOLVED", "CONTAINED", "ROLLED_BACK", "DENIED", "EXPIRED", "ESCALATED", "SUPPRESSED", "MERGED"}
_S = IncidentState


class Story(RuleBasedStateMachine):
    """Tries steps at random; only legal ones are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.path = [_S.DETECTED]

    @rule(to=st.sampled_from(IncidentState))
    def attempt(self, to: IncidentState) -> None:
        here = self.path[-1]
        if to in TRANSITIONS[here]:
            check_transition(here, to)
            self.path.append(to)
        else:
            with pytest.raises(IllegalTransition):
                check_transition(here, to)

    @precondition(lambda self: self.path[-1].final)
    @rule(to=st.sampled_from(IncidentState))
    def nothing_leads_out_of_an_end(self, to: IncidentState) -> None:
        with pytest.raises(IllegalTransition):
            check_transition(self.path[-1], to)

    @invariant()
    def the_cluster_is_changed_only_after_policy_and_dry_run(self) -> None:
        if _S.REMEDIATING in self.path:
            before = self.path[: self.path.index(_S.REMEDIATING)]
            assert before.index(_S.INVESTIGATING) < before.index(_S.POLICY_CHECK)
            assert before.index(_S.POLICY_CHECK) < before.index(_S.DRY_RUNNING)

    @invariant()
    def success_after_a_change_needs_verification(self) -> None:
        if self.path[-1] in (_S.RESOLVED, _S.CONTAINED) and self.path[-2] in (
            _S.REMEDIATING,
            _S.ROLLING_BACK,
        ):
            raise AssertionError(self.path)


Story.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStory = Story.TestCase


def test_the_final_states_are_those_of_the_design() -> None:
    assert {state.value for state in IncidentState if state.final} == FINAL


def test_every_state_can_be_reached_and_every_open_one_can_end() -> None:
    reached, ahead = {_S.DETECTED}, [_S.DETECTED]
    while ahead:
        new = TRANSITIONS[ahead.pop()] - reached
        reached |= new
        ahead += new
    assert reached == set(IncidentState)
    ends = {state for state in IncidentState if state.final}
    while more := {s for s in IncidentState if s not in ends and TRANSITIONS[s] & ends}:
        ends |= more
    assert ends == set(IncidentState)


def test_nothing_can_be_merged_or_denied_once_a_change_may_have_been_made() -> None:
    for state in (_S.REMEDIATING, _S.VERIFYING, _S.ROLLING_BACK):
        assert not TRANSITIONS[state] & {_S.MERGED, _S.DENIED, _S.EXPIRED, _S.SUPPRESSED}
