"""Pods that took a bad value at their start: they start anew with the earlier one, or nobody calls it a success."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities import remediation
from activities.means import restarting
from activities.means.removing import evict
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.action import Action
from cortexops.domain.change import PodRef
from cortexops.domain.incident import Reason
from cortexops.domain.kubernetes.pods import is_ready
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.verification import Phase
from tests.remediation.support import Stage, eventually
from tests.remediation.test_catalogue_live import crew, verified
from tests.remediation.test_values_live import config
from tests.support.case import a_ledger_row

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


async def test_the_only_pod_of_a_workload_stays_and_is_left_to_a_person_with_the_change_in_place(
    simulated: Stage,
) -> None:
    stage, action = simulated, put_back(simulated)
    before = await serving(stage, 1)
    order = await stage.order(action)
    done = await stage.apply(order)
    assert (done.outcome, done.reason) == (ApplyOutcome.UNKNOWN, Reason.RESTART_NEEDED), done.detail
    assert "1 pod stayed" in done.detail
    assert f"kubectl -n {stage.space} delete pod crew-" in done.detail.splitlines()[-1]
    assert await ready(stage) == before
    live = await stage.live(stage.ref("ConfigMap", "settings"))
    assert live["data"]["k"] == order.prepared.change.edits[0].after, "the value stays"


async def test_pods_that_a_budget_keeps_stay_and_are_left_to_a_person(
    simulated: Stage,
) -> None:
    stage, action = simulated, put_back(simulated)
    before = await serving(stage, 2)
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "crew"}}}
    await stage.admin.create("PodDisruptionBudget", stage.space, {"metadata": {"name": "b"}, "spec": spec})
    done = await stage.apply(await stage.order(action))
    assert (done.outcome, done.reason) == (ApplyOutcome.UNKNOWN, Reason.RESTART_NEEDED), done.detail
    assert "2 pods stayed" in done.detail
    assert await ready(stage) == before


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


class Three:
    """A set of three that needs its peers: one goes, and another is therefore not ready."""

    name = "test"

    async def get(self, kind: str, namespace: str, name: str) -> JSON:
        return {"kind": kind, "metadata": {"name": name}, "spec": {"replicas": 3}}

    def pods(self) -> list[JSON]:
        owner = {"kind": "StatefulSet", "name": "db", "uid": "s", "controller": True}
        made: list[JSON] = [
            {"metadata": {"name": f"db-{n}", "uid": f"u{n}", "namespace": "shop", "ownerReferences": [owner]},
             "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(n != 1)}]}}
            for n in range(3)
        ]  # fmt: skip
        made[0]["metadata"]["deletionTimestamp"] = "2026-01-02T12:00:00Z"
        return made


async def test_a_pod_that_is_not_ready_since_another_goes_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone: list[Any] = []

    async def noted(*args: Any) -> None:
        gone.append(args)

    monkeypatch.setattr(restarting, "evict", noted)
    cluster: Any = Three()
    refs = tuple(PodRef(namespace="shop", name=f"db-{n}", uid=f"u{n}") for n in range(3))
    row = a_ledger_row("INC-1")
    settings = ResourceRef(cluster="test", kind="ConfigMap", namespace="shop", name="settings")
    change = row.change.model_copy(update={"pods": refs, "target": settings})
    row = row.model_copy(update={"change": change, "created_at": datetime.now(UTC)})
    crews = restarting._Crews(cluster, row.change, cluster.pods())
    until = datetime.now(UTC) + timedelta(seconds=30)
    waiting, busy = await restarting._round(cluster, row, crews, {}, until)
    assert (gone, busy) == ([], None)
    assert [ref.name for ref in waiting] == ["db-1", "db-2"]
