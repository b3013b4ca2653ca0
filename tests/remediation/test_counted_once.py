"""An undo is counted when it is over, however often its watch is tried."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY
from temporalio.exceptions import ApplicationError

from activities import health, remediation
from cortexops.domain.errors import TemporaryError
from tests.remediation.support import Stage


def compensated(action: str) -> float:
    labels = {"action": action, "result": "compensated"}
    return REGISTRY.get_sample_value("cortexops_remediations_total", labels) or 0.0


async def test_an_undo_is_counted_once_though_its_watch_is_tried_again(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    await stage.deployment()
    done = await stage.apply(await stage.order(stage.action("scale_workload", replicas=1)))
    watch, failures = health.watch_health, [TemporaryError("the API server is away")]

    async def watch_health(*given: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return await watch(*given, **more)

    monkeypatch.setattr(remediation, "watch_health", watch_health)
    before = compensated("scale_workload")
    with pytest.raises(ApplicationError):
        await stage.compensate(done.operation_id)
    assert compensated("scale_workload") == before
    assert (await stage.compensate(done.operation_id)).done
    assert compensated("scale_workload") == before + 1
