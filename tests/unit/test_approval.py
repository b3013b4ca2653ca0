"""Approvals: who counts, for what, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.approval import (
    ApprovalRequest,
    ApprovalState,
    Decision,
    Person,
    Vote,
    VoteRefusal,
    refuse,
    tally,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_A = ApprovalState


def request(**more: Any) -> ApprovalRequest:
    base: dict[str, Any] = {
        "id": "INC-1-approval-1",
        "incident_id": "INC-1",
        "action": "restart_workload Deployment shop/api",
        "cause": "it hangs",
        "confidence": 0.9,
        "risk": "low",
        "diff": (),
        "digest": "d1",
        "policy_reasons": ("prod",),
        "rule": "prod",
        "quorum": 2,
        "roles": ("oncall",),
        "blast_radius": "3 replicas",
        "requested_at": NOW,
        "expires_at": NOW + timedelta(minutes=15),
    }
    return ApprovalRequest(**{**base, **more})


def vote(who: str, decision: Decision = Decision.APPROVE, **more: Any) -> Vote:
    person = Person(id=who, roles=more.pop("roles", ("oncall",)), via=more.pop("via", "token"))
    return Vote(
        **{"approval_id": "INC-1-approval-1", "person": person, "decision": decision, "digest": "d1"} | more
    )


@pytest.mark.parametrize(
    ("asked", "cast", "earlier", "why"),
    [
        (None, vote("ann"), [], VoteRefusal.NO_SUCH_APPROVAL),
        (request(), vote("ann", approval_id="other"), [], VoteRefusal.NO_SUCH_APPROVAL),
        (request(), vote("ann", via=""), [], VoteRefusal.ANONYMOUS),
        (request(), vote("ann", digest="d2"), [], VoteRefusal.CHANGED_DIFF),
        (request(), vote("ann", Decision.DENY, digest="d2"), [], VoteRefusal.CHANGED_DIFF),
        (request(), vote("ann", roles=("guest",)), [], VoteRefusal.WRONG_ROLE),
        (request(proposed_by="ann"), vote("ann"), [], VoteRefusal.PROPOSER),
        (request(), vote("ann"), [vote("ann")], VoteRefusal.ALREADY_VOTED),
        (request(), vote("eve"), [vote("ann"), vote("bob")], VoteRefusal.NOT_PENDING),
        (request(), vote("eve"), [vote("ann", Decision.DENY)], VoteRefusal.NOT_PENDING),
        (request(), vote("eve"), [vote("ann", Decision.TAKE_OVER)], VoteRefusal.NOT_PENDING),
        (request(), vote("ann"), [], None),
        (request(), vote("ann"), [vote("bob")], None),
        (request(roles=()), vote("ann", roles=()), [], None),
        (request(proposed_by="ann"), vote("ann", Decision.DENY, roles=()), [], None),
        (request(), vote("ann", Decision.TAKE_OVER, roles=()), [vote("ann")], None),
    ],
)
def test_a_vote_counts_only_when_it_may(
    asked: ApprovalRequest | None, cast: Vote, earlier: list[Vote], why: VoteRefusal | None
) -> None:
    assert refuse(asked, earlier, cast, now=NOW) is why


@pytest.mark.parametrize(
    ("seconds", "why"), [(899, None), (900, VoteRefusal.EXPIRED), (9000, VoteRefusal.EXPIRED)]
)
def test_after_fifteen_minutes_no_vote_counts(seconds: int, why: VoteRefusal | None) -> None:
    late = NOW + timedelta(seconds=seconds)
    assert refuse(request(), [], vote("ann"), now=late) is why
    assert refuse(request(), [], vote("ann", Decision.DENY), now=late) is why


def test_the_quorum_counts_distinct_people() -> None:
    assert tally(request(), [vote("ann"), vote("ann"), vote("ann")], now=NOW) is _A.PENDING
    assert tally(request(), [vote("ann"), vote("bob")], now=NOW) is _A.APPROVED


def test_one_no_ends_it_whatever_else_was_said() -> None:
    said = [vote("ann"), vote("bob"), vote("eve", Decision.DENY)]
    assert tally(request(), said, now=NOW) is _A.DENIED


def test_too_few_in_time_is_expired() -> None:
    assert tally(request(), [vote("ann")], now=NOW + timedelta(minutes=15)) is _A.EXPIRED


@pytest.mark.parametrize("quorum", [0, -1])
def test_nothing_is_approved_by_nobody(quorum: int) -> None:
    assert tally(request(quorum=quorum), [], now=NOW) is _A.PENDING


@pytest.mark.parametrize(
    "bad",
    [vote("eve", digest="d2"), vote("eve", roles=("guest",)), vote("eve", via=""), vote("ann")],
)
def test_a_vote_that_may_not_count_is_not_counted_even_if_it_got_in(bad: Vote) -> None:
    assert tally(request(proposed_by="ann"), [vote("bob"), bad], now=NOW) is _A.PENDING


votes = st.builds(
    vote,
    st.sampled_from(["ann", "bob", "eve"]),
    st.sampled_from(Decision),
    digest=st.sampled_from(["d1", "d2"]),
    roles=st.sampled_from([("oncall",), ("guest",), ()]),
    via=st.sampled_from(["token", ""]),
)


@given(st.lists(votes, max_size=6), st.integers(1, 3), st.sampled_from([None, "ann"]))
def test_approved_means_enough_verified_people_who_may_and_no_denial(
    cast: list[Vote], quorum: int, proposer: str | None
) -> None:
    asked, accepted = request(quorum=quorum, proposed_by=proposer), list[Vote]()
    for one in cast:
        if refuse(asked, accepted, one, now=NOW) is None:
            accepted.append(one)
    if tally(asked, accepted, now=NOW) is _A.APPROVED:
        said_yes = {v.person.id for v in accepted if v.decision is Decision.APPROVE}
        assert len(said_yes) >= quorum
        assert proposer not in said_yes
        for v in accepted:
            assert v.decision is Decision.APPROVE
            assert (v.digest, v.person.roles, v.person.via) == ("d1", ("oncall",), "token")
