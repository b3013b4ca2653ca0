"""Whether a raised maximum helped is told by the pods of the workload, not by what its autoscaler asks for."""

from __future__ import annotations

from typing import Any

import pytest

from activities.remediation import RemediationActivities
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.resource import JSON
from cortexops.domain.verification import Phase, Verification
from tests.remediation.support import Stage
from tests.remediation.test_catalogue_live import more_replicas, verified


class Shown:
    """A cluster on which the autoscaler and its Deployment have these replicas, whatever the controllers say."""

    def __init__(self, cluster: Any, current: int, ready: int) -> None:
        self._cluster, self._current, self._ready = cluster, current, ready

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def get(self, kind: str, namespace: str, name: str) -> JSON:
        live: JSON = await self._cluster.get(kind, namespace, name)
        if kind == "HorizontalPodAutoscaler":
            return live | {"status": {"currentReplicas": self._current, "desiredReplicas": self._current}}
        if kind == "Deployment":
            live["spec"]["replicas"] = self._current
            return live | {"status": live["status"] | {"readyReplicas": self._ready}}
        return live


async def judged(stage: Stage, *, current: int, ready: int) -> Verification:
    """The verdict on a maximum that was raised from 4 to 8."""
    action = await more_replicas(stage)
    done = await stage.apply(await stage.order(action))
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    shown: Any = Shown(stage.writer, current, ready)
    stage.activities = RemediationActivities({stage.admin.name: shown}, stage.store)
    return await verified(stage, action, done.operation_id, seconds=1.0)


async def test_a_raised_maximum_whose_new_pods_do_not_start_is_no_success(simulated: Stage) -> None:
    verdict = await judged(simulated, current=8, ready=5)
    assert verdict.phase is Phase.FAILED, verdict.detail
    assert "5/8 replicas ready" in verdict.detail


@pytest.mark.parametrize("current", [8, 3], ids=["used", "not needed"])
async def test_a_raised_maximum_is_a_success_once_all_pods_are_ready(simulated: Stage, current: int) -> None:
    verdict = await judged(simulated, current=current, ready=current)
    assert verdict.phase is Phase.SUCCESSFUL, verdict.detail
    assert f"{current}/{current} replicas ready" in verdict.detail
