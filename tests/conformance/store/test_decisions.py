"""Ledger, approvals and postmortems."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.action import Action
from cortexops.domain.approval import ApprovalRequest, ApprovalState, Decision, Person, Vote
from cortexops.domain.change import Change, FieldEdit, Verb
from cortexops.domain.errors import Conflict, NotFound, PermanentError
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.postmortem import PostmortemState, write_postmortem
from tests.support.postgres import API, NOW, a_message, an_entry, moved, opened, together


def a_row(incident: Incident, attempt: int = 1, **changes: object) -> LedgerRow:
    operation = f"{incident.id}.{attempt}.1.abc"
    edit = FieldEdit(path="/spec/replicas", before=1, after=2)
    base: dict[str, object] = {
        "operation_id": operation,
        "incident_id": incident.id,
        "attempt": attempt,
        "step": 1,
        "plan_hash": "abc",
        "action": Action(type="scale_workload", target=API, params={"replicas": 2}),
        "change": Change(verb=Verb.PATCH, target=API, uid="u", edits=(edit,), operation_id=operation),
        "snapshot": {"spec": {"replicas": 1, "ratio": 1.5, "none": None}},
        "state": LedgerState.INTENT,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return LedgerRow.model_validate({**base, **changes})


def a_request(incident: Incident, **changes: object) -> ApprovalRequest:
    base: dict[str, object] = {
        "id": f"{incident.id}-approval-1",
        "incident_id": incident.id,
        "action": "scale",
        "cause": "c",
        "confidence": 0.9,
        "risk": "low",
        "diff": (),
        "digest": "d1",
        "policy_reasons": ("r",),
        "rule": "rule",
        "quorum": 1,
        "roles": ("sre",),
        "blast_radius": "2 replicas",
        "requested_at": NOW,
        "expires_at": NOW + timedelta(minutes=15),
    }
    return ApprovalRequest.model_validate({**base, **changes})


async def test_an_intent_is_written_once(store: PostgresStore) -> None:
    incident = await opened(store)
    row = a_row(incident)
    assert await store.row(row.operation_id) is None
    answers = await together(*(store.intend(row, an_entry(incident.id)) for _ in range(5)))
    assert answers == [row] * 5
    later = row.model_copy(update={"created_at": NOW + timedelta(hours=1)})
    assert await store.intend(later, an_entry(incident.id)) == row
    assert await store.row(row.operation_id) == row
    assert len(await store.events(incident.id)) == 2


async def test_another_plan_for_the_same_step_is_refused(store: PostgresStore) -> None:
    incident = await opened(store)
    await store.intend(a_row(incident), an_entry(incident.id))
    with pytest.raises(Conflict):
        await store.intend(a_row(incident, operation_id="another"), an_entry(incident.id))
    assert [row.operation_id for row in await store.rows_of(incident.id)] == [f"{incident.id}.1.1.abc"]


async def test_a_ledger_row_takes_only_legal_steps(store: PostgresStore) -> None:
    incident = await opened(store)
    row = await store.intend(a_row(incident), an_entry(incident.id))
    entry = an_entry(incident.id, at=NOW + timedelta(seconds=9))
    applied = await store.settle(row.operation_id, LedgerState.APPLIED, "done", entry)
    assert (applied.state, applied.detail, applied.updated_at) == ("applied", "done", entry.at)
    assert await store.settle(row.operation_id, LedgerState.APPLIED, "done", entry) == applied
    assert len(await store.events(incident.id)) == 3
    with pytest.raises(PermanentError, match="cannot go from applied to refused"):
        await store.settle(row.operation_id, LedgerState.REFUSED, "", an_entry(incident.id))
    with pytest.raises(NotFound):
        await store.settle("none", LedgerState.APPLIED, "", an_entry(incident.id))
    assert await store.row(row.operation_id) == applied
    assert len(await store.events(incident.id)) == 3
    assert await store.verify() == (3, [])


async def test_unfinished_rows_are_those_that_a_person_must_see(store: PostgresStore) -> None:
    open_one, ended = await opened(store, run="1"), await opened(store, run="2")
    for incident in (open_one, ended):
        for attempt, state in enumerate(("intent", "applied", "unknown", "refused"), start=1):
            row = await store.intend(a_row(incident, attempt), an_entry(incident.id))
            if state != "intent":
                first = LedgerState.REFUSED if state == "refused" else LedgerState.APPLIED
                await store.settle(row.operation_id, first, "", an_entry(incident.id))
            if state == "unknown":
                await store.settle(row.operation_id, LedgerState.UNKNOWN, "", an_entry(incident.id))
    await store.update_incident(moved(ended, IncidentState.ESCALATED), [])
    assert {(row.incident_id, row.state.value) for row in await store.unfinished()} == {
        (open_one.id, "unknown"),
        (ended.id, "intent"),
        (ended.id, "applied"),
        (ended.id, "unknown"),
    }


async def test_an_approval_with_its_votes(store: PostgresStore) -> None:
    incident = await opened(store)
    request, entry = a_request(incident), an_entry(incident.id)
    for _ in range(2):
        await store.request_approval(request, entry, a_message(incident, "ask", approval=request))
    assert await store.waiting() == 4
    votes = [
        Vote(
            approval_id=request.id,
            person=Person(id=name, via="token"),
            decision=Decision.APPROVE,
            digest="d1",
            at=NOW,
        )
        for name in ("zoe", "adam")
    ]
    for vote in [*votes, votes[0]]:
        await store.record_vote(vote, an_entry(incident.id, idempotency_key=f"vote-{vote.person.id}"))
    found = await store.approval(request.id)
    assert found is not None
    assert (found.request, found.state, found.votes) == (request, ApprovalState.PENDING, votes)
    settled = an_entry(incident.id)
    for _ in range(2):
        await store.settle_approval(
            request.id, ApprovalState.APPROVED, settled, a_message(incident, "decided")
        )
    found = await store.approval(request.id)
    assert found is not None
    assert found.state is ApprovalState.APPROVED
    assert len(await store.events(incident.id)) == 5
    assert await store.waiting() == 6


async def test_an_approval_ends_once_and_asks_one_thing(store: PostgresStore) -> None:
    incident = await opened(store)
    request = a_request(incident)
    message = a_message(incident, "m")
    with pytest.raises(NotFound):
        await store.settle_approval("none", ApprovalState.EXPIRED, an_entry(incident.id), message)
    with pytest.raises(NotFound):
        vote = Vote(approval_id="none", person=Person(id="a"), decision=Decision.DENY, digest="")
        await store.record_vote(vote, an_entry(incident.id))
    await store.request_approval(request, an_entry(incident.id), message)
    other = request.model_copy(update={"digest": "d2"})
    with pytest.raises(Conflict):
        await store.request_approval(other, an_entry(incident.id), message)
    await store.settle_approval(request.id, ApprovalState.EXPIRED, an_entry(incident.id), message)
    with pytest.raises(Conflict, match="expired already"):
        await store.settle_approval(request.id, ApprovalState.APPROVED, an_entry(incident.id), message)
    assert len(await store.events(incident.id)) == 3
    assert await store.approval("none") is None


async def test_approvals_are_listed_newest_first(store: PostgresStore) -> None:
    for number in range(3):
        incident = await opened(store, run=str(number))
        request = a_request(incident, requested_at=NOW + timedelta(minutes=number))
        await store.request_approval(request, an_entry(incident.id), a_message(incident, "ask"))
    newest, middle, oldest = await store.approvals()
    assert newest.request.requested_at > middle.request.requested_at > oldest.request.requested_at
    assert await store.approvals(most=1) == [newest]
    await store.settle_approval(
        middle.request.id, ApprovalState.DENIED, an_entry("x"), a_message(incident, "no")
    )
    assert await store.approvals(state=ApprovalState.PENDING) == [newest, oldest]
    (denied,) = await store.approvals(state=ApprovalState.DENIED)
    assert denied.request == middle.request


async def test_the_first_postmortem_stays(store: PostgresStore) -> None:
    incident = await opened(store)
    ended = moved(incident, IncidentState.ESCALATED)
    await store.update_incident(ended, [])
    postmortem = write_postmortem(ended, None, await store.events(incident.id))
    await store.save_postmortem(postmortem, an_entry(incident.id))
    await store.save_postmortem(postmortem.model_copy(update={"impact": "x"}), an_entry(incident.id))
    assert await store.postmortem(postmortem.id) == postmortem
    assert await store.postmortems() == [postmortem]
    assert len(await store.events(incident.id)) == 2
    assert await store.postmortem("none") is None


async def test_a_postmortem_goes_from_open_over_review_to_closed(store: PostgresStore) -> None:
    incident = await opened(store)
    postmortem = write_postmortem(moved(incident, IncidentState.ESCALATED), None, [])
    await store.save_postmortem(postmortem, an_entry(incident.id))
    with pytest.raises(Conflict):
        await store.advance_postmortem(postmortem.id, PostmortemState.CLOSED, an_entry(incident.id))
    with pytest.raises(NotFound):
        await store.advance_postmortem("none", PostmortemState.CLOSED, an_entry(incident.id))
    entry = an_entry(incident.id)
    reviewed = await store.advance_postmortem(postmortem.id, PostmortemState.IN_REVIEW, entry)
    assert reviewed.state is PostmortemState.IN_REVIEW
    assert await store.advance_postmortem(postmortem.id, PostmortemState.IN_REVIEW, entry) == reviewed
    with pytest.raises(Conflict):
        await store.advance_postmortem(postmortem.id, PostmortemState.IN_REVIEW, an_entry(incident.id))
    await store.advance_postmortem(postmortem.id, PostmortemState.CLOSED, an_entry(incident.id))
    found = await store.postmortem(postmortem.id)
    assert found is not None
    assert found.state is PostmortemState.CLOSED
    assert len(await store.events(incident.id)) == 4
