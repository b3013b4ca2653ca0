"""To stop a change needs a reason, by every way; and an answer that is given twice is said to stand already."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.votes import VoteBox, update_id
from cortexops.cli.main import app as cli
from cortexops.contracts.incident import VOTE, VoteResult
from cortexops.domain.approval import (
    LONGEST_REASON,
    ApprovalState,
    Decision,
    Person,
    Vote,
    VoteOutcome,
    checked_reason,
    needs_reason,
)
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import InvalidInput
from cortexops.domain.message import MessageKind
from tests.console.support import ANA, World, csrf_in, sign_in
from tests.support.case import DIGEST, entry, open_case, tell

STOPS = ("deny", "take-over")
EMPTY = ("", " ", "\n\t", "\u200b\u200b", "\u2060 \ufeff")


@pytest.fixture
def world(store: PostgresStore) -> World:
    return World(store)


@pytest.mark.parametrize("reason", EMPTY)
@pytest.mark.parametrize("decision", list(Decision))
def test_only_an_approval_needs_no_words(decision: Decision, reason: str) -> None:
    if decision is Decision.APPROVE:
        checked_reason(decision, reason)
        return
    with pytest.raises(InvalidInput, match="must say why") as refused:
        checked_reason(decision, reason)
    assert refused.value.field == "reason"


@given(st.sampled_from(Decision), st.text(max_size=LONGEST_REASON + 50))
def test_what_is_kept_is_what_was_said_and_never_too_long(decision: Decision, text: str) -> None:
    try:
        kept = checked_reason(decision, text)
    except InvalidInput as wrong:
        assert wrong.field == "reason"
        assert len(text.strip()) > LONGEST_REASON or needs_reason(decision)
        return
    assert kept == text.strip()
    assert kept or not needs_reason(decision)


@pytest.mark.parametrize("reason", EMPTY)
@pytest.mark.parametrize("answer", STOPS)
async def test_rest_names_the_field_that_is_missing(world: World, answer: str, reason: str) -> None:
    incident = await open_case(world.store)
    url = f"/api/v1/approvals/{incident.id}-approval-1/{answer}"
    async with world.client(**ANA) as client:
        for body in ({"digest": DIGEST, "reason": reason}, {"digest": DIGEST}):
            refused = await client.post(url, json=body)
            assert (refused.status_code, refused.json()["field"]) == (422, "reason")
            assert "must say why" in refused.json()["error"]
        assert world.votes.counted == []
        assert (await client.post(url, json={"digest": DIGEST, "reason": "no"})).status_code == 200
    assert [v.reason for v in world.votes.counted] == ["no"]


@pytest.mark.parametrize("answer", STOPS)
async def test_the_page_says_so_at_the_field_and_keeps_what_was_typed(world: World, answer: str) -> None:
    incident = await open_case(world.store)
    async with world.client() as client:
        await sign_in(client)
        page = (await client.get(f"/incidents/{incident.id}")).text
        form = {"csrf": csrf_in(page), "digest": DIGEST, "reason": "  "}
        refused = await client.post(f"/approvals/{incident.id}-approval-1/{answer}", data=form)
        assert refused.status_code == 422
        assert 'aria-invalid="true" aria-describedby="reason-problem"' in refused.text
        assert "Nothing was counted. reason: must say why" in refused.text
        long = await client.post(
            f"/approvals/{incident.id}-approval-1/{answer}", data={**form, "reason": "<b>" + "x" * 1000}
        )
        assert (long.status_code, "1000 at most" in long.text) == (422, True)
        assert "&lt;b&gt;xxx" in long.text
    assert world.votes.counted == []


@pytest.mark.parametrize("answer", STOPS)
def test_the_command_line_asks_for_it_before_anything_else(answer: str) -> None:
    missing = CliRunner().invoke(cli, ["approvals", answer, "INC-1-approval-1"])
    assert (missing.exit_code, "--reason" in missing.output) == (2, True)
    empty = CliRunner().invoke(cli, ["approvals", answer, "INC-1-approval-1", "--reason", " "])
    assert (empty.exit_code, "must say why" in empty.output) == (2, True)


async def test_no_way_around_it_leads_to_the_workflow(world: World) -> None:
    incident = await open_case(world.store)
    nowhere: Any = None  # a client that would be used raises
    votes = VoteBox(nowhere, world.store)
    ana = Person(id="ana", roles=("oncall",), via="token")
    with pytest.raises(InvalidInput, match="reason"):
        await votes.cast(f"{incident.id}-approval-1", ana, Decision.DENY, "\u200b", DIGEST)


class Workflow:
    """Takes every vote that is delivered; stands in for the client, too."""

    def __init__(self) -> None:
        self.delivered: list[tuple[str, Vote]] = []

    def get_workflow_handle(self, *_: Any, **__: Any) -> Workflow:
        return self

    async def execute_update(self, name: str, vote: Vote, *, id: str, **_: Any) -> VoteResult:
        assert name == VOTE
        self.delivered.append((id, vote))
        return VoteResult(
            approval_id=vote.approval_id, state=ApprovalState.PENDING, approvals=1, quorum=1
        )  # as it stood then


@pytest.mark.parametrize("pending", [True, False])
@pytest.mark.parametrize(("quorum", "state"), [(1, ApprovalState.APPROVED), (2, ApprovalState.PENDING)])
async def test_a_repeated_answer_is_told_with_how_it_stands_and_goes_to_a_workflow_that_still_waits(
    world: World, quorum: int, state: ApprovalState, pending: bool
) -> None:
    incident = await open_case(world.store, request={"quorum": quorum})
    approval = f"{incident.id}-approval-1"
    ana = Person(id="ana", roles=("oncall",), via="token")
    vote = Vote(
        approval_id=approval, person=ana, decision=Decision.APPROVE, digest=DIGEST, reason="matches e4"
    )
    await world.store.record_vote(
        vote, entry(incident.id, AuditType.APPROVAL_VOTE, 94, "approve", actor="ana")
    )
    if not pending:
        state = ApprovalState.APPROVED
        decided = entry(incident.id, AuditType.APPROVAL_DECIDED, 95, "approved")
        said = tell(incident, MessageKind.APPROVAL_DECIDED, "approved", 95)
        await world.store.settle_approval(approval, state, decided, said)
    workflow: Any = Workflow()
    votes = VoteBox(workflow, world.store, clock=world.clock)
    again = await votes.cast(approval, ana, Decision.APPROVE, "and again", DIGEST)
    assert (again.outcome, again.state) == (VoteOutcome.ALREADY_VOTED, state)
    assert (again.approvals, again.quorum) == (1, quorum)
    sent = [update_id(approval, ana, Decision.APPROVE)] if pending else []
    assert [one for one, _ in workflow.delivered] == sent
    record = await world.store.approval(approval)
    assert record is not None
    assert [v.reason for v in record.votes] == ["matches e4"]
    refused = [e for e in await world.store.events(incident.id) if e.type == AuditType.VOTE_REFUSED]
    assert [(e.actor, e.reason) for e in refused] == [("ana", "already_voted")]


async def test_nobodys_approval_overtakes_a_no_that_is_in_the_books(world: World) -> None:
    incident = await open_case(world.store)
    approval = f"{incident.id}-approval-1"
    ana, bo = (Person(id=name, roles=("oncall",), via="token") for name in ("ana", "bo"))
    no = Vote(approval_id=approval, person=ana, decision=Decision.DENY, digest=DIGEST, reason="a release")
    await world.store.record_vote(no, entry(incident.id, AuditType.APPROVAL_VOTE, 94, "deny", actor="ana"))
    workflow: Any = Workflow()
    await VoteBox(workflow, world.store, clock=world.clock).cast(approval, bo, Decision.APPROVE, "", DIGEST)
    assert [(vote.person.id, vote.decision.value) for _, vote in workflow.delivered] == [
        ("ana", "deny"), ("bo", "approve"),
    ]  # fmt: skip


async def test_the_page_and_the_api_say_already_voted(world: World) -> None:
    incident = await open_case(world.store, request={"quorum": 2})
    approval = f"{incident.id}-approval-1"
    async with world.client(**ANA) as client:
        url = f"/api/v1/approvals/{approval}/approve"
        outcomes = [(await client.post(url, json={"digest": DIGEST})).json() for _ in range(2)]
        assert [o["outcome"] for o in outcomes] == ["counted", "already_voted"]
        assert outcomes[1]["state"] == "pending"
    async with world.client() as browser:
        await sign_in(browser)
        page = (await browser.get(f"/incidents/{incident.id}")).text
        form = {"csrf": csrf_in(page), "digest": DIGEST, "reason": ""}
        answer = await browser.post(f"/approvals/{approval}/approve", data=form)
        assert answer.headers["location"].endswith("?done=already_voted")
        shown = (await browser.get(answer.headers["location"])).text
        assert "You have given this answer already. It counts once." in shown
    assert len(world.votes.counted) == 1
