"""Metric checks decide in the verify activity, beside the health of the objects."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from activities.collectors._backend import HttpBackend
from activities.metric_health import MetricHealth
from cortexops.contracts.remediation import CompensateInput, CompensateResult, VerifyInput
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.ledger import LedgerState
from cortexops.domain.verification import Limits, Phase, Verification
from tests.remediation.support import Stage
from tests.verification.prometheus import BINARY, MISSING, Server
from tests.verification.test_real_prometheus import check, own_checks

pytestmark = pytest.mark.skipif(not BINARY, reason=MISSING or "there")


async def changed(
    stage: Stage, server: Server, failing: float, *, url: str = "", from_: int = 0, **more: Any
) -> Verification:
    """The verdict on a change after which so many requests fail; before it, 40 of 100 did."""
    traffic = server.exporter.traffic(stage.space)
    traffic.fail(0.0)
    await stage.deployment(replicas=from_)
    action = stage.action("scale_workload", replicas=from_ + 1)
    await asyncio.sleep(1.4)
    onset = datetime.now(UTC)
    traffic.fail(0.4)
    target = stage.ref()
    crash = Hypothesis(
        resource=target, category=Category.CRASH, summary="it crashes", support=Support(direct=1)
    )
    diagnosis = Diagnosis(target=target, verdict=Verdict.ROOT_CAUSE, hypotheses=(crash,), onset=onset)
    await stage.store.save_diagnosis(stage.incident, diagnosis)
    await asyncio.sleep(1.4)
    done = await stage.apply(await stage.order(action))
    traffic.fail(failing)
    backend = HttpBackend("prometheus", url or server.url)
    stage.activities.metrics = MetricHealth(
        {stage.admin.name: backend}, stage.store, own_checks(check(**more))
    )
    return await stage.activities.verify(
        VerifyInput(
            step=stage.step(),
            action=action,
            operation_id=done.operation_id,
            limits=Limits(window=8, stable_for=0.5, interval=0.1),
            subject=target,
            expected_replicas=1,
        )
    )


async def state(stage: Stage) -> LedgerState:
    (row,) = await stage.store.rows_of(stage.incident)
    return row.state


async def test_errors_that_fell_verify_the_change(simulated: Stage, server: Server) -> None:
    verdict = await changed(simulated, server, 0.0)
    assert verdict.phase is Phase.SUCCESSFUL, verdict
    assert "1/1 replicas ready" in verdict.detail and "before the trouble" in verdict.detail
    assert await state(simulated) is LedgerState.VERIFIED


async def test_ready_replicas_are_no_success_while_requests_fail(simulated: Stage, server: Server) -> None:
    verdict = await changed(simulated, server, 0.6)
    assert verdict.phase is Phase.FAILED, verdict
    assert verdict.detail.startswith("metric:errors: errors 0.")
    assert await state(simulated) is LedgerState.APPLIED


async def test_required_metrics_that_cannot_be_asked_are_no_success(simulated: Stage, server: Server) -> None:
    verdict = await changed(simulated, server, 0.0, url="http://127.0.0.1:1", consecutive_error_limit=2)
    assert verdict.phase is Phase.ERROR, verdict
    assert await state(simulated) is LedgerState.APPLIED


async def undone(stage: Stage, server: Server, failing: float, *, asked: bool = True) -> CompensateResult:
    """What is said after the undo of the change; so many requests fail from then on."""
    (row,) = await stage.store.rows_of(stage.incident)
    server.exporter.traffic(stage.space).fail(failing)
    if not asked:
        nobody = HttpBackend("prometheus", "http://127.0.0.1:1")
        optional = own_checks(check(required=False, on_no_data="ignore"))
        stage.activities.metrics = MetricHealth({stage.admin.name: nobody}, stage.store, optional)
    return await stage.activities.compensate(
        CompensateInput(
            step=stage.step(),
            operation_id=row.operation_id,
            limits=Limits(window=8, stable_for=0.5, interval=0.1),
            subject=stage.ref(),
        )
    )


async def test_ready_replicas_are_no_health_after_an_undo_while_requests_fail(
    simulated: Stage, server: Server
) -> None:
    assert (await changed(simulated, server, 0.6, from_=1)).phase is Phase.FAILED
    result = await undone(simulated, server, 0.4)
    assert result.done and result.healthy is False, result
    assert "metric:errors" in result.detail


async def test_an_undo_after_which_requests_are_as_before_the_trouble_is_healthy(
    simulated: Stage, server: Server
) -> None:
    assert (await changed(simulated, server, 0.6, from_=1)).phase is Phase.FAILED
    result = await undone(simulated, server, 0.0)
    assert result.done and result.healthy is True, result
    assert "before the trouble" in result.detail


async def test_metrics_that_cannot_be_asked_after_an_undo_leave_the_objects_word(
    simulated: Stage, server: Server
) -> None:
    assert (await changed(simulated, server, 0.6, from_=1)).phase is Phase.FAILED
    result = await undone(simulated, server, 0.4, asked=False)
    assert result.done and result.healthy is True, result
    assert "could not be asked" in result.detail
