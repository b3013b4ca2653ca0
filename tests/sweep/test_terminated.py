"""A workflow terminated at each boundary: one sweep later object, ledger, trail and incident say the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import Client

from activities.sweeping import BookSweeping
from cortexops.adapters.temporal_runs import Runs
from cortexops.adapters.votes import VoteBox
from cortexops.domain.approval import ApprovalState, Decision, Person
from cortexops.domain.audit import AuditType
from cortexops.domain.change import OPERATION_ANNOTATION
from cortexops.domain.errors import TemporaryError
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.people import VoteNotCounted
from cortexops.domain.policy import Effect
from cortexops.settings import SweepSettings
from sandbox.cluster.faults import Fault
from tests.sweep.play import Play, until
from workers.schedules import book_sweeper, cluster_sweeper, ensure

NOT_DRY = r"^(?!.*dryRun)"
PATCH_FAILS = Fault(path="/deployments/", method="PATCH", query=NOT_DRY, status=503, times=1000)


async def replicas(play: Play) -> int:
    return int((await play.stage.live())["spec"]["replicas"])


async def swept(play: Play) -> Incident:
    """Sweep, and check what holds wherever the workflow was: closed once, told once, a chain without a fault."""
    report = await play.sweep()
    incident = await play.incident()
    assert incident.id in report.orphans
    assert report.closed >= 1
    assert (incident.state, incident.reason) == (IncidentState.ESCALATED, Reason.WORKFLOW_TERMINATED)
    assert incident.ended_at is not None
    types = [event.type for event in await play.store.events(incident.id)]
    assert types.count(AuditType.ESCALATED) == 1
    assert all(event.inputs for event in await play.store.events(incident.id))
    assert (await play.store.examine()).faults == []
    ended = [one for one in await told(play, incident) if one.startswith("Its workflow was terminated")]
    assert len(ended) == 1
    again = await play.sweep()
    assert again.orphans == ()
    assert [event.type for event in await play.store.events(incident.id)] == types
    return incident


async def told(play: Play, incident: Incident) -> list[str]:
    async with play.store._database.begin() as connection:
        found = await connection.exec_driver_sql(
            "SELECT body ->> 'text' FROM outbox WHERE incident_id = %s AND notifier = 'slack' ORDER BY id",
            (incident.id,),
        )
        return [text for (text,) in found.all()]


async def the_row(play: Play) -> LedgerRow:
    (row,) = await play.store.rows_of((await play.incident()).id)
    return row


async def test_terminated_while_it_investigates(play: Play) -> None:
    play.story.gates["investigate"] = asyncio.Event()
    await play.begin()
    await until(lambda: _called(play, "investigate"))
    await play.terminate_raw()
    incident = await swept(play)
    assert await play.store.rows_of(incident.id) == []
    assert await replicas(play) == 0


async def _called(play: Play, name: str) -> bool:
    return name in play.story.calls or bool(
        [one for one in await play.store.incidents() if one.state is IncidentState.INVESTIGATING]
    )


async def test_terminated_before_the_intent_is_written_and_the_late_activity_changes_nothing(
    play: Play,
) -> None:
    play.gate("before apply")
    await play.begin()
    await play.until_at("before apply")
    await play.terminate_raw()
    incident = await swept(play)
    play.gated.gates["before apply"].set()  # the activity goes on after its incident was closed
    await asyncio.sleep(0.5)
    assert await replicas(play) == 0
    assert await play.store.rows_of(incident.id) == []


async def test_terminated_between_intent_and_change(play: Play) -> None:
    await play.begin(PATCH_FAILS)
    await until(lambda: _in_ledger(play))
    await play.terminate_raw()
    await asyncio.sleep(0.3)  # the request under way ends
    play.stage.faults.clear()
    incident = await swept(play)
    row = await the_row(play)
    assert row.state is LedgerState.REFUSED
    assert await replicas(play) == 0
    types = [event.type for event in await play.store.events(incident.id)]
    assert types.count(AuditType.ACTION_REFUSED) == 1
    assert types.count(AuditType.ORPHAN_FOUND) == 2
    assert "was not made" in (await told(play, incident))[-1]


async def _in_ledger(play: Play) -> bool:
    found = [one for one in await play.store.incidents() if one.key == play.key]
    return bool(found and await play.store.rows_of(found[0].id))


async def test_a_change_that_may_be_about_to_be_made_is_looked_at_again_after_the_grace(play: Play) -> None:
    await play.begin(PATCH_FAILS)
    await until(lambda: _in_ledger(play))
    await play.terminate_raw()
    play.grace = timedelta(hours=1)
    first = await play.sweep()
    assert (first.closed, first.outcomes) == (2, {"under_way": 1})
    assert (await the_row(play)).state is LedgerState.INTENT
    incident = await play.incident()
    assert incident.state is IncidentState.ESCALATED
    assert "may have been made; it is looked at again" in (await told(play, incident))[-1]
    play.grace = timedelta(0)
    second = await play.sweep()
    assert (second.closed, second.outcomes) == (0, {"not_done": 1})
    assert (await the_row(play)).state is LedgerState.REFUSED
    assert "was not made; nothing was changed" in (await told(play, incident))[-1]
    assert (await play.sweep()).orphans == ()


@pytest.mark.parametrize("where", ["after apply", "before verify"])
async def test_terminated_when_the_change_was_made_and_not_verified(play: Play, where: str) -> None:
    play.gate(where)
    await play.begin()
    await play.until_at(where)
    await play.terminate_raw()
    incident = await swept(play)
    row = await the_row(play)
    assert row.state is LedgerState.APPLIED
    live = await play.stage.live()
    assert live["spec"]["replicas"] == 1
    assert live["metadata"]["annotations"][OPERATION_ANNOTATION] == row.operation_id
    text = (await told(play, incident))[-1]
    assert "was made and not verified" in text
    assert f"kubectl -n {play.stage.space} patch deployment api --type=json" in text
    (found,) = [
        event
        for event in await play.store.events(incident.id)
        if event.type is AuditType.ORPHAN_FOUND and event.data.get("operation")
    ]
    assert found.data["outcome"] == "in_place"
    assert any("patch deployment api" in command for command in found.data["commands"])


async def test_terminated_after_the_undo_had_its_effect(play: Play) -> None:
    play.gate("after compensate")
    play.stage.faults.add(Fault(path="/pods", method="GET", status=503, times=100000))  # nothing gets healthy
    await play.begin()
    await play.until_at("before compensate")
    await until(lambda: _replicas_are(play, 0))
    await play.terminate_raw()
    play.stage.faults.clear()
    incident = await swept(play)
    assert (await the_row(play)).state is LedgerState.COMPENSATED
    assert await replicas(play) == 0
    assert "was made and taken back" in (await told(play, incident))[-1]


async def _replicas_are(play: Play, number: int) -> bool:
    row = await the_row(play)
    return await replicas(play) == number and row.state is LedgerState.COMPENSATED


async def test_terminated_while_people_are_asked_nobody_can_approve_into_nothing(play: Play) -> None:
    play.effect = Effect.REQUIRE_APPROVAL
    await play.begin()
    await until(lambda: play.store.approvals(state=ApprovalState.PENDING))
    (asked,) = await play.store.approvals()
    await play.terminate_raw()
    incident = await swept(play)
    (void,) = await play.store.approvals()
    assert void.state is ApprovalState.VOID
    decided = [e for e in await play.store.events(incident.id) if e.type is AuditType.APPROVAL_DECIDED]
    assert [(e.reason, asked.request.id in e.detail) for e in decided] == [(Reason.APPROVAL_VOID, True)]
    votes = VoteBox(play.client, play.store)
    with pytest.raises(VoteNotCounted):
        await votes.cast(
            asked.request.id, Person(id="ann", roles=("oncall",), via="token"), Decision.APPROVE, "",
            asked.request.digest,
        )  # fmt: skip
    assert await replicas(play) == 0


async def test_a_running_workflow_is_left_alone_and_goes_on(play: Play) -> None:
    play.gate("before verify")
    handle = await play.begin()
    await play.until_at("before verify")
    before = await play.incident()
    report = await play.sweep()
    assert before.id not in report.orphans
    assert await play.incident() == before
    assert (await the_row(play)).state is LedgerState.APPLIED
    play.gated.gates["before verify"].set()
    assert (await handle.result()).state is IncidentState.RESOLVED
    assert (await play.sweep()).orphans == ()


async def test_a_workflow_that_was_reset_counts_as_running(play: Play) -> None:
    from temporalio.api.common.v1 import WorkflowExecution
    from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

    play.effect = Effect.REQUIRE_APPROVAL
    handle = await play.begin()
    await until(lambda: play.store.approvals(state=ApprovalState.PENDING))
    incident = await play.incident()
    done = [
        event.event_id
        async for event in handle.fetch_history_events()
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    await play.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=play.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=incident.run_id),
            workflow_task_finish_event_id=done[-1],
            request_id=play.prefix,
        )
    )
    report = await play.sweep()
    assert incident.id not in report.orphans
    assert (await play.incident()).ended_at is None


async def test_what_is_left_behind_is_taken_back_when_that_is_wanted(play: Play) -> None:
    play.compensate = True
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    await play.terminate_raw()
    incident = await swept(play)
    assert (await the_row(play)).state is LedgerState.COMPENSATED
    assert await replicas(play) == 0
    types = [event.type for event in await play.store.events(incident.id)]
    assert types.count(AuditType.COMPENSATION_EXECUTED) == 1


async def test_what_somebody_else_changed_since_is_not_taken_back(play: Play) -> None:
    play.compensate = True
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    await play.terminate_raw()
    await play.stage.edit({"spec": {"replicas": 3}})
    incident = await swept(play)
    assert (await the_row(play)).state is LedgerState.UNKNOWN
    assert await replicas(play) == 3
    assert "may be half done" in (await told(play, incident))[-1]


async def test_an_incident_is_closed_also_while_its_cluster_cannot_be_asked(play: Play) -> None:
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    await play.terminate_raw()
    play.stage.faults.add(Fault(path="/deployments/", method="GET", status=503, times=100000))
    first = await play.sweep()
    assert first.outcomes == {"unreachable": 1}
    incident = await play.incident()
    assert incident.state is IncidentState.ESCALATED
    assert (await the_row(play)).state is LedgerState.APPLIED
    play.stage.faults.clear()
    second = await play.sweep()
    assert (second.closed, second.outcomes) == (0, {"in_place": 1})
    assert "Found out later" in (await told(play, incident))[-1]
    assert (await play.sweep()).orphans == ()


async def test_two_sweepers_at_once_do_everything_once(play: Play) -> None:
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    await play.terminate_raw()
    books, rows = play.sweepers()
    found = (await books.find()).found
    assert len(found) == 2
    for orphan in found:
        await asyncio.gather(*(rows.settle(orphan) for _ in range(3)))
        closed = await asyncio.gather(*(books.close(orphan) for _ in range(3)))
        assert [one.closed for one in closed].count(True) == 1
    incident = await play.incident()
    types = [event.type for event in await play.store.events(incident.id)]
    assert types.count(AuditType.ESCALATED) == 1
    assert types.count(AuditType.ORPHAN_FOUND) == 2


async def test_a_sweeper_that_died_between_its_steps_is_gone_on_from(play: Play) -> None:
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    await play.terminate_raw()
    books, rows = play.sweepers()
    for orphan in (await books.find()).found:
        await rows.settle(orphan)
    assert (await play.incident()).ended_at is None
    incident = await swept(play)
    types = [event.type for event in await play.store.events(incident.id)]
    assert types.count(AuditType.ORPHAN_FOUND) == 2
    assert "was made and not verified" in (await told(play, incident))[-1]


async def test_a_workflow_that_was_deleted_is_gone(play: Play) -> None:
    from temporalio.api.common.v1 import WorkflowExecution
    from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

    play.effect = Effect.REQUIRE_APPROVAL
    handle = await play.begin()
    await until(lambda: play.store.approvals(state=ApprovalState.PENDING))
    await play.client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=play.client.namespace, workflow_execution=WorkflowExecution(workflow_id=handle.id)
        )
    )
    books, _ = play.sweepers()

    async def gone() -> bool:
        return "gone" in [orphan.run for orphan in (await books.find()).found if orphan.rows == 0][1:]

    await until(gone)
    await play.sweep()
    incident = await play.incident()
    assert (incident.state, incident.reason) == (IncidentState.ESCALATED, Reason.WORKFLOW_GONE)
    assert [one.state for one in await play.store.approvals()] == [ApprovalState.VOID]


async def test_in_a_namespace_that_is_not_there_nothing_is_touched(play: Play) -> None:
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    wrong = await Client.connect(play.address, namespace="nowhere")
    books = BookSweeping(play.store, Runs(wrong, play.store.run_is_known), grace=timedelta(0))
    with pytest.raises(TemporaryError, match="namespace nowhere"):
        await books.find()
    assert (await play.incident()).ended_at is None


async def test_the_schedule_sweeps_by_itself(play: Play) -> None:
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    books, rows = play.sweepers()
    settings = SweepSettings(interval_seconds=5)
    async with book_sweeper(play.client, books), cluster_sweeper(play.client, rows):
        await asyncio.gather(*(ensure(play.client, settings) for _ in range(3)))
        try:
            await play.terminate_raw()
            await until(lambda: _ended(play), seconds=20)
        finally:
            await ensure(play.client, SweepSettings(enabled=False))
    assert (await play.incident()).reason is Reason.WORKFLOW_TERMINATED
    assert (await the_row(play)).state is LedgerState.APPLIED


async def _ended(play: Play) -> bool:
    return (await play.incident()).ended_at is not None
