"""One effect, whatever happens between the steps; nothing when anything is not as it was agreed on."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.action import Action
from cortexops.domain.audit import AuditType
from cortexops.domain.change import OPERATION_ANNOTATION
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from sandbox.cluster.faults import Fault
from tests.remediation.support import SECRET, Stage, eventually

NOT_DRY = r"^(?!.*dryRun)"


def scale(stage: Stage, to: int = 1) -> Action:
    return stage.action("scale_workload", replicas=to)


async def test_a_dry_run_shows_the_servers_diff_and_changes_nothing(stage: Stage) -> None:
    before = await stage.deployment()
    found = await stage.dry_run(scale(stage))
    assert found.ok and found.preview is not None
    assert [(line.path, line.before, line.after) for line in found.preview.diff] == [
        ("/spec/replicas", "0", "1")
    ]
    assert (found.preview.uid, found.preview.generation) == (
        before["metadata"]["uid"],
        before["metadata"]["generation"],
    )
    assert await stage.live() == before
    assert await stage.trail() == []
    assert await stage.store.rows_of(stage.incident) == []


async def test_apply_changes_once_and_says_the_same_again(stage: Stage) -> None:
    await stage.deployment()
    before = await stage.generation()
    order = await stage.order(scale(stage))
    first = await stage.apply(order)
    assert first.outcome is ApplyOutcome.APPLIED
    after = await stage.live()
    assert after["spec"]["replicas"] == 1
    assert after["metadata"]["annotations"][OPERATION_ANNOTATION] == first.operation_id
    assert after["metadata"]["generation"] == before + 1
    assert await stage.apply(order) == first
    assert await stage.generation() == before + 1
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.APPLIED
    assert [event.type for event in await stage.trail()] == [AuditType.INTENT, AuditType.ACTION_EXECUTED]


async def test_two_workers_at_once_make_one_change(stage: Stage) -> None:
    await stage.deployment()
    before = await stage.generation()
    order = await stage.order(scale(stage))
    results = await asyncio.gather(*(stage.apply(order) for _ in range(4)), return_exceptions=True)
    assert await stage.generation() == before + 1
    assert {r.outcome for r in results if not isinstance(r, BaseException)} == {ApplyOutcome.APPLIED}
    assert [e.type for e in await stage.trail()].count(AuditType.ACTION_EXECUTED) == 1


async def test_a_crash_between_intent_and_patch_ends_in_one_change(simulated: Stage) -> None:
    stage = simulated
    await stage.deployment()
    before = await stage.generation()
    order = await stage.order(scale(stage))
    stage.faults.add(Fault(path="/deployments/", method="PATCH", query=NOT_DRY, status=503, times=50))
    with pytest.raises(ApplicationError):
        await stage.apply(order)
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.INTENT
    assert (await stage.live())["spec"]["replicas"] == 0
    stage.faults.clear()
    assert (await stage.apply(order)).outcome is ApplyOutcome.APPLIED
    assert await stage.generation() == before + 1


async def crashed_after_the_patch(stage: Stage, action: Action) -> tuple[object, str]:
    before = await stage.generation()
    order = await stage.order(action)
    fault = stage.faults.add(
        Fault(path="/deployments/", method="PATCH", query=NOT_DRY, hang_after_apply=True, times=1)
    )
    task = asyncio.create_task(stage.apply(order))

    async def changed() -> bool:
        return bool(fault.hits) and await stage.generation() > before

    await eventually(changed)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.INTENT
    return order, row.operation_id


async def test_a_crash_between_patch_and_ledger_ends_in_one_change(simulated: Stage) -> None:
    stage = simulated
    await stage.deployment()
    before = await stage.generation()
    order, _ = await crashed_after_the_patch(stage, scale(stage))
    again = await stage.apply(order)  # type: ignore[arg-type]
    assert again.outcome is ApplyOutcome.APPLIED
    assert await stage.generation() == before + 1
    assert [e.type for e in await stage.trail()] == [AuditType.INTENT, AuditType.ACTION_EXECUTED]


async def test_after_such_a_crash_somebody_elses_edit_is_not_taken_for_ours(simulated: Stage) -> None:
    stage = simulated
    await stage.deployment()
    order, operation = await crashed_after_the_patch(stage, scale(stage))
    await stage.edit({"spec": {"replicas": 3}, "metadata": {"annotations": {OPERATION_ANNOTATION: None}}})
    again = await stage.apply(order)  # type: ignore[arg-type]
    assert (again.outcome, again.reason) == (ApplyOutcome.UNKNOWN, Reason.EFFECT_UNKNOWN)
    assert (await stage.live())["spec"]["replicas"] == 3
    assert await stage.apply(order) == again  # type: ignore[arg-type]
    undone = await stage.compensate(operation)
    assert not undone.done
    assert (await stage.live())["spec"]["replicas"] == 3


async def test_a_change_that_was_made_but_never_recorded_can_be_undone(simulated: Stage) -> None:
    stage = simulated
    await stage.deployment()
    _, operation = await crashed_after_the_patch(stage, scale(stage))
    undone = await stage.compensate(operation)
    assert undone.done, undone.detail
    assert (await stage.live())["spec"]["replicas"] == 0
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.COMPENSATED


async def test_an_intent_that_was_never_carried_out_needs_no_undo(simulated: Stage) -> None:
    stage = simulated
    await stage.deployment()
    before = await stage.generation()
    order = await stage.order(scale(stage))
    stage.faults.add(Fault(path="/deployments/", method="PATCH", query=NOT_DRY, status=503, times=50))
    with pytest.raises(ApplicationError):
        await stage.apply(order)
    stage.faults.clear()
    (row,) = await stage.store.rows_of(stage.incident)
    undone = await stage.compensate(row.operation_id)
    assert (undone.done, undone.detail.split(";")[0]) == (True, "nothing was changed")
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.REFUSED
    assert await stage.generation() == before


async def test_an_object_that_changed_since_the_dry_run_is_left_alone(stage: Stage) -> None:
    await stage.deployment()
    order = await stage.order(scale(stage))
    theirs = await stage.edit({"spec": {"minReadySeconds": 7}})
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED)
    live = await stage.live()
    assert live["metadata"]["generation"] == theirs["metadata"]["generation"]
    assert live["spec"]["replicas"] == 0
    assert await stage.store.rows_of(stage.incident) == []
    assert [e.type for e in await stage.trail()] == [AuditType.ACTION_REFUSED]


async def test_an_object_that_changed_between_intent_and_patch_is_left_alone(simulated: Stage) -> None:
    stage = simulated
    await stage.deployment()
    order = await stage.order(scale(stage))
    fault = stage.faults.add(Fault(path="/deployments/", method="PATCH", query=NOT_DRY, status=503, times=50))
    with pytest.raises(ApplicationError):
        await stage.apply(order)
    stage.faults.remove(fault)
    await stage.edit({"spec": {"minReadySeconds": 7}})
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED)
    assert (await stage.live())["spec"]["replicas"] == 0
    assert await stage.apply(order) == result


async def test_another_object_of_the_same_name_is_left_alone(stage: Stage) -> None:
    await stage.deployment()
    order = await stage.order(scale(stage))
    await stage.admin.delete("Deployment", stage.space, "api")

    async def gone() -> bool:
        return not (await stage.admin.list("Deployment", stage.space)).items

    await eventually(gone)
    await stage.deployment()
    result = await stage.apply(order)
    assert result.outcome is ApplyOutcome.CHANGED
    assert (await stage.live())["spec"]["replicas"] == 0


async def test_an_object_that_is_gone_is_said_to_be_gone(stage: Stage) -> None:
    await stage.deployment()
    order = await stage.order(scale(stage))
    await stage.admin.delete("Deployment", stage.space, "api")

    async def gone() -> bool:
        return not (await stage.admin.list("Deployment", stage.space)).items

    await eventually(gone)
    assert (await stage.apply(order)).outcome is ApplyOutcome.CHANGED
    found = await stage.dry_run(scale(stage))
    assert (found.ok, found.reason) == (False, Reason.OBJECT_GONE)


async def test_what_was_not_agreed_on_is_not_done(stage: Stage) -> None:
    await stage.deployment()
    before = await stage.generation()
    order = await stage.order(scale(stage))
    for other in (
        order.model_copy(update={"digest": "0" * 64}),
        order.model_copy(update={"policy_revision": "policy-2"}),
        order.model_copy(
            update={
                "prepared": order.prepared.model_copy(update={"action": stage.action("restart_workload")})
            }
        ),
    ):
        assert (await stage.apply(other)).outcome is ApplyOutcome.CHANGED
    assert await stage.generation() == before


async def test_a_cluster_without_a_writing_identity_is_not_changed(stage: Stage) -> None:
    elsewhere = stage.ref().model_copy(update={"cluster": "elsewhere"})
    found = await stage.dry_run(stage.action("restart_workload", elsewhere))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_FORBIDDEN)
    assert "elsewhere" in found.detail


async def test_no_value_of_the_environment_gets_out(stage: Stage) -> None:
    _, first = await stage.rolled_out()
    await stage.edit(
        {
            "spec": {
                "template": {
                    "spec": {
                        "containers": [
                            {"name": "main", "env": [{"name": "DB_PASSWORD", "value": f"{SECRET}2"}]}
                        ]
                    }
                }
            }
        }
    )
    await stage.revision("api", 3)
    back = stage.action("rollback_rollout", to_revision=1, replica_set=first)
    seen = await stage.dry_run(back)
    assert seen.ok and seen.preview is not None, seen.detail
    order = await stage.order(back)
    done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    image = [{"name": "main", "image": "r.local/api:9.9"}]
    await stage.edit({"spec": {"template": {"spec": {"containers": image}}}})
    undone = await stage.compensate(done.operation_id)
    assert undone.reason is Reason.COMPENSATION_REFUSED
    told = [seen, order, done, undone]
    assert SECRET not in "".join(one.model_dump_json() for one in told) + await stage.said()
    assert any("[redacted:by_name]" in line.before for line in seen.preview.diff)
    assert any("rollout undo" in command for command in undone.commands)
