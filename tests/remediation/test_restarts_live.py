"""Pods that took a bad value at their start: they start anew with the earlier one, or nobody calls it a success."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities import remediation
from activities.means import restarting
from activities.means.removing import evict
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.action import Action
from cortexops.domain.kubernetes.pods import is_ready
from cortexops.domain.verification import Phase
from tests.remediation.support import Stage, eventually
from tests.remediation.test_catalogue_live import crew, verified
from tests.remediation.test_values_live import config

TAKES = {
    "ConfigMap": {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}},
    "Secret": {"name": "K", "valueFrom": {"secretKeyRef": {"name": "settings", "key": "k"}}},
}


async def serving(stage: Stage, replicas: int, kind: str = "ConfigMap") -> set[str]:
    """Pods that are ready and run with the bad value, which they took as a variable."""
    await stage.admin.create(kind, stage.space, config(kind, {"k": "bad"}, {"k": "good"}))
    (node,) = (await stage.admin.list("Node")).items
    await crew(stage, node["metadata"]["name"], replicas, env=[TAKES[kind]])

    async def all_ready() -> set[str]:
        found = await ready(stage)
        return found if len(found) == replicas else set()

    uids: set[str] = await eventually(all_ready)
    return uids


async def ready(stage: Stage) -> set[str]:
    found = (await stage.admin.list("Pod", stage.space)).items
    return {pod["metadata"]["uid"] for pod in found if is_ready(pod)}


def put_back(stage: Stage, kind: str = "ConfigMap") -> Action:
    return stage.action("patch_config", stage.ref(kind, "settings"), key="k", source="last_applied")


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
async def test_pods_that_serve_with_the_bad_value_start_anew_and_never_all_of_them_at_once(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    stage, action, left = simulated, put_back(simulated, kind), []
    before = await serving(stage, 2, kind)

    async def counted(*args: Any) -> None:
        await evict(*args)
        left.append(len(await ready(stage)))

    monkeypatch.setattr(restarting, "evict", counted)
    order = await stage.order(action)
    assert {pod.uid for pod in order.prepared.change.pods} == before
    done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    assert "2 pods evicted, to start with it at once" in done.detail
    assert left and min(left) >= 1
    assert not before & await ready(stage)
    verdict = await verified(stage, action, done.operation_id)
    assert verdict.phase is Phase.SUCCESSFUL, verdict.detail
    undone = await stage.compensate(done.operation_id)
    assert undone.done
    assert "pods that were restarted for it keep the value that was taken back" in undone.detail


async def test_the_only_pod_of_a_workload_stays_and_then_the_change_is_not_taken_for_a_success(
    simulated: Stage,
) -> None:
    stage, action = simulated, put_back(simulated)
    before = await serving(stage, 1)
    done = await stage.apply(await stage.order(action))
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    assert "1 pod stayed" in done.detail
    assert await ready(stage) == before
    verdict = await verified(stage, action, done.operation_id, seconds=1.0)
    assert verdict.phase is Phase.INCONCLUSIVE
    assert "1 pod started before the change, so with the old value: restart crew-" in verdict.detail
    (pod,) = (await stage.admin.list("Pod", stage.space)).items
    await stage.admin.delete("Pod", stage.space, pod["metadata"]["name"])
    verdict = await verified(stage, action, done.operation_id)
    assert verdict.phase is Phase.SUCCESSFUL, verdict.detail


async def test_pods_that_a_budget_keeps_stay_and_then_the_change_is_not_taken_for_a_success(
    simulated: Stage,
) -> None:
    stage, action = simulated, put_back(simulated)
    before = await serving(stage, 2)
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "crew"}}}
    await stage.admin.create("PodDisruptionBudget", stage.space, {"metadata": {"name": "b"}, "spec": spec})
    done = await stage.apply(await stage.order(action))
    assert "2 pods stayed" in done.detail
    assert await ready(stage) == before
    verdict = await verified(stage, action, done.operation_id, seconds=1.0)
    assert verdict.phase is Phase.INCONCLUSIVE, verdict.detail


async def test_nobody_is_restarted_for_a_value_that_somebody_changed_meanwhile(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    before = await serving(stage, 2)

    async def then_changed(*args: Any) -> None:
        await evict(*args)
        await stage.edit({"data": {"k": "theirs"}}, stage.ref("ConfigMap", "settings"))

    monkeypatch.setattr(restarting, "evict", then_changed)
    done = await stage.apply(await stage.order(put_back(stage)))
    assert "1 pod evicted" in done.detail and "somebody changed the value meanwhile" in done.detail
    assert len(await ready(stage) & before) == 1


async def test_restarts_that_take_longer_than_one_run_are_asked_for_again(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    before = await serving(stage, 2)
    order = await stage.order(put_back(stage))
    short = functools.partial(restarting.restart, run=timedelta(0), pause=0.05)
    monkeypatch.setattr(remediation, "restart", short)
    with pytest.raises(ApplicationError, match=r"1 pod that read .+ still to be restarted"):
        await stage.apply(order)
    monkeypatch.setattr(remediation, "restart", functools.partial(restarting.restart, pause=0.05))
    done = await stage.apply(order)
    assert done.outcome is ApplyOutcome.APPLIED
    assert "2 pods evicted" in done.detail, "what the run before did is counted"
    assert not before & await ready(stage)
