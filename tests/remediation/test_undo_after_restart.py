"""An undo meets an API server that has just started and has not read its roles: it is asked again, not for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError

from activities import patience
from cortexops.domain.audit import AuditType
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from sandbox.cluster.faults import Fault
from tests.remediation.support import Stage
from tests.remediation.test_actions_live import scale
from tests.remediation.test_effects import NOT_DRY


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "ROLES_ARE_READ", timedelta(seconds=0.5))
    monkeypatch.setattr(patience, "AGAIN", timedelta(seconds=0.02))


def forbidding(stage: Stage, times: int | None) -> Fault:
    """Reading the object is answered with 403, so many times."""
    path = rf"/namespaces/{stage.space}/deployments/api$"
    return stage.faults.add(Fault(path, method="GET", status=403, times=times))


async def applied(stage: Stage) -> str:
    return (await stage.apply(await stage.order(await scale(stage)))).operation_id


async def test_an_undo_is_made_once_the_server_has_read_its_roles(simulated: Stage) -> None:
    stage = simulated
    before = (await stage.deployment())["spec"]["replicas"]
    order = await stage.order(stage.action("scale_workload", replicas=before + 1))
    operation = (await stage.apply(order)).operation_id
    fault = forbidding(stage, times=3)
    undone = await stage.compensate(operation)
    assert (undone.done, undone.reason) == (True, Reason.COMPENSATED)
    assert fault.hits == 3
    assert (await stage.live())["spec"]["replicas"] == before
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.COMPENSATED
    refused = [event for event in await stage.trail() if event.type is AuditType.COMPENSATION_REFUSED]
    assert refused == []


async def test_a_permission_that_stays_away_ends_with_the_commands_for_a_person(simulated: Stage) -> None:
    stage = simulated
    operation = await applied(stage)
    generation = await stage.generation()
    fault = forbidding(stage, times=None)
    undone = await stage.compensate(operation)
    stage.faults.remove(fault)
    assert fault.hits > 3
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_FAILED)
    assert "may not be read, so nothing was restored: missing permission: get deployments" in undone.detail
    assert any(f"kubectl -n {stage.space} patch deployment api" in command for command in undone.commands)
    assert await stage.generation() == generation
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.UNKNOWN
    last = (await stage.trail())[-1]
    assert (last.type, last.reason) == (AuditType.COMPENSATION_REFUSED, Reason.COMPENSATION_FAILED)


async def test_what_was_never_settled_is_looked_at_as_patiently(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    order = await stage.order(await scale(stage))
    before = (await stage.live())["spec"]
    stage.faults.add(Fault("/deployments/", method="PATCH", query=NOT_DRY, hang_after_apply=True, times=1))
    with monkeypatch.context() as hurried:
        hurried.setattr(stage.writer._transport, "_timeout", 0.5)
        with pytest.raises(ApplicationError, match="no answer from the API server in time"):
            await stage.apply(order)
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.INTENT
    forbidding(stage, times=2)
    undone = await stage.compensate(row.operation_id)
    assert (undone.done, undone.reason) == (True, Reason.COMPENSATED)
    assert (await stage.live())["spec"] == before
