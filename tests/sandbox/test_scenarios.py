"""Every scenario reaches its broken state by itself, and its true remedy, done by hand, heals it (or not)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict, InvalidInput
from cortexops.ports.cluster import PatchType
from sandbox.cluster.controllers.clock import parse_stamp
from sandbox.cluster.simulation import SimulatedCluster
from sandbox.scenarios import load_scenario, scenario_names
from tests.sandbox.support import SPEED, events, eventually, pods, restarts, rolled_out, template_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


class World:
    """One cluster in which all scenarios go wrong at the same time."""

    def __init__(self, simulated: SimulatedCluster) -> None:
        self.simulated = simulated
        self._plays = {
            name: asyncio.create_task(simulated.play(name, within=40)) for name in scenario_names()
        }

    async def broken(self, name: str) -> KubernetesCluster:
        """A client, once the scenario has gone wrong."""
        await asyncio.shield(self._plays[name])
        return await self.simulated.cluster()

    async def end(self) -> None:
        for task in self._plays.values():
            task.cancel()
        await asyncio.gather(*self._plays.values(), return_exceptions=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with SimulatedCluster(speed=SPEED, eviction_seconds=30.0) as simulated:
        made = World(simulated)
        yield made
        await made.end()


async def set_memory(cluster: KubernetesCluster, namespace: str, name: str, limit: str) -> None:
    container = {"name": name, "resources": {"limits": {"memory": limit}, "requests": {"memory": "512Mi"}}}
    await cluster.patch(
        "Deployment",
        namespace,
        name,
        {"spec": {"template": {"spec": {"containers": [container]}}}},
        patch_type=PatchType.STRATEGIC,
    )


async def undo(cluster: KubernetesCluster, namespace: str, name: str, revision: int) -> None:
    template = await template_of(cluster, namespace, name, revision)
    body = [{"op": "replace", "path": "/spec/template", "value": template}]
    await cluster.patch("Deployment", namespace, name, body)


async def test_oom_after_release_is_killed_at_512mi_and_heals_at_1gi(world: World) -> None:
    cluster = await world.broken("oom-after-release")
    simulated = world.simulated
    deployment = await cluster.get("Deployment", "production", "payment-service")
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "12"
    sets = (await cluster.list("ReplicaSet", "production", labels="app=payment-service")).items
    revisions = {one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for one in sets}
    assert revisions == {"10", "11", "12"}
    killed = {
        pod["metadata"]["name"]: one["lastState"]["terminated"]
        for pod in await pods(cluster, "production", "payment-service")
        for one in pod["status"]["containerStatuses"]
        if one["lastState"]
    }
    assert {(one["exitCode"], one["reason"]) for one in killed.values()} == {(137, "OOMKilled")}
    assert "INFO" in await cluster.logs("production", next(iter(killed)), previous=True)
    await set_memory(cluster, "production", "payment-service", "1Gi")
    await eventually(lambda: rolled_out(cluster, "production", "payment-service"))
    await asyncio.sleep(60 / SPEED)  # more than one spike of every pod
    assert restarts(await pods(cluster, "production", "payment-service")) == 0
    assert await rolled_out(cluster, "production", "payment-service")
    memory = [size for (_, pod, _), size in simulated.kubelet.usage().items() if "payment" in pod]
    assert all(size >= 490 * 2**20 for size in memory)


async def test_configmap_changed_hours_ago_crashes_on_restart_and_heals_when_it_is_put_right(
    world: World,
) -> None:
    cluster = await world.broken("configmap-changed-hours-ago")
    config = await cluster.get("ConfigMap", "orders", "orders-api-config")
    writers = {entry["manager"]: entry for entry in config["metadata"]["managedFields"]}
    changed = parse_stamp(writers["schema-migration"]["time"])
    assert timedelta(hours=5, minutes=59) < datetime.now(UTC) - changed < timedelta(hours=6, minutes=2)
    assert "f:DB_PORT" in writers["schema-migration"]["fieldsV1"]["f:data"]

    async def backing_off() -> bool:
        """A crash loop goes round: waiting, running for a moment, terminated, waiting."""
        found = await pods(cluster, "orders", "orders-api")
        state = found[0]["status"]["containerStatuses"][0]
        waits = (state["state"].get("waiting") or {}).get("reason") == "CrashLoopBackOff"
        return waits and state["lastState"]["terminated"]["exitCode"] == 1

    await eventually(backing_off)
    crashing = await pods(cluster, "orders", "orders-api")
    log = await cluster.logs("orders", crashing[0]["metadata"]["name"])
    assert "DB_PORT must be an integer, got '5432/orders_v2'" in log
    assert any(
        "Back-off restarting failed container" in m for m in await events(cluster, "orders", "BackOff")
    )
    await cluster.patch(
        "ConfigMap",
        "orders",
        "orders-api-config",
        {"data": {"DB_PORT": "5432"}},
        patch_type=PatchType.MERGE,
    )
    for pod in crashing:
        await cluster.delete("Pod", "orders", pod["metadata"]["name"])
    await eventually(lambda: rolled_out(cluster, "orders", "orders-api"))


async def test_a_typing_error_in_the_image_leaves_the_old_pods_serving_and_undo_heals(world: World) -> None:
    cluster = await world.broken("image-typo-rollout")
    found = await pods(cluster, "staging", "storefront")
    waiting = [pod for pod in found if pod["status"]["phase"] == "Pending"]
    assert len(found) == 4
    assert len(waiting) == 1
    failures = await events(cluster, "staging", "Failed")
    assert any("storefront:1.8.2-rc: not found" in message for message in failures)
    endpoints = await cluster.get("Endpoints", "staging", "storefront")
    assert len(endpoints["subsets"][0]["addresses"]) == 3
    await undo(cluster, "staging", "storefront", 5)
    await eventually(lambda: rolled_out(cluster, "staging", "storefront"))
    healed = await cluster.get("Deployment", "staging", "storefront")
    assert healed["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "7"


async def test_a_wrong_readiness_path_stalls_the_rollout_and_undo_heals(world: World) -> None:
    cluster = await world.broken("bad-readiness-probe")
    deployment = await cluster.get("Deployment", "catalog", "catalog-api")
    conditions = {entry["type"]: entry for entry in deployment["status"]["conditions"]}
    assert conditions["Progressing"]["reason"] == "ProgressDeadlineExceeded"
    assert conditions["Available"]["status"] == "True"
    unhealthy = await events(cluster, "catalog", "Unhealthy")
    assert "Readiness probe failed: HTTP probe failed with statuscode: 404" in unhealthy
    await undo(cluster, "catalog", "catalog-api", 3)
    await eventually(lambda: rolled_out(cluster, "catalog", "catalog-api"))


async def test_one_dead_node_takes_eight_workloads_down_and_most_move_away(world: World) -> None:
    cluster = await world.broken("node-not-ready-cascade")
    simulated = world.simulated
    node = await cluster.get("Node", "", "pool-b-1")
    ready = next(entry for entry in node["status"]["conditions"] if entry["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert ready["message"] == "Kubelet stopped posting node status."
    taints = {taint["key"] for taint in node["spec"]["taints"]}
    assert taints == {"dedicated", "node.kubernetes.io/unreachable"}
    assert len(simulated.alert("node-not-ready-cascade")["alerts"]) == 9
    await eventually(lambda: rolled_out(cluster, "billing", "shipping"), 20)
    moved = await pods(cluster, "billing", "shipping")
    assert moved[0]["spec"]["nodeName"] != "pool-b-1"
    assert "Node is not ready" in await events(cluster, "platform", "NodeNotReady")
    simulated.kubelet.heal_node("pool-b-1")

    async def back() -> bool:
        store = await cluster.get("StatefulSet", "platform", "audit-store")
        return bool(store["status"].get("readyReplicas") == 1)

    await eventually(back)
    healed = await cluster.get("Node", "", "pool-b-1")
    assert [taint["key"] for taint in healed["spec"]["taints"]] == ["dedicated"]


async def test_a_higher_limit_does_not_help_against_a_leak_and_there_is_no_revision_to_go_back_to(
    world: World,
) -> None:
    cluster = await world.broken("fix-does-not-help")
    sets = (await cluster.list("ReplicaSet", "staging-batch", labels="app=report-builder")).items
    assert len(sets) == 1
    await set_memory(cluster, "staging-batch", "report-builder", "1Gi")
    fixed_at = time.monotonic()

    async def killed_again() -> bool:
        found = await pods(cluster, "staging-batch", "report-builder")
        ends = [
            (one.get("lastState") or {}).get("terminated") or (one.get("state") or {}).get("terminated") or {}
            for pod in found
            if pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
            for one in pod["status"].get("containerStatuses") or ()
        ]
        return len(ends) == 2 and all(end.get("reason") == "OOMKilled" for end in ends)

    await eventually(killed_again)
    assert (time.monotonic() - fixed_at) * SPEED < 120  # nominal: the demo watches for 12 s at speed 10


async def test_a_dependency_outside_is_down_and_nothing_inside_changed(world: World) -> None:
    cluster = await world.broken("dependency-outside-the-cluster")
    simulated = world.simulated
    found = await pods(cluster, "checkout", "checkout")
    assert restarts(found) == 0
    log = await cluster.logs("checkout", found[0]["metadata"]["name"])
    assert 'Post "https://api.payments.example.com:443/v1/charges": dial tcp' in log
    assert "i/o timeout" in log
    endpoints = await cluster.get("Endpoints", "checkout", "checkout")
    assert not endpoints["subsets"][0].get("addresses")
    deployment = await cluster.get("Deployment", "checkout", "checkout")
    created = parse_stamp(deployment["metadata"]["creationTimestamp"])
    assert datetime.now(UTC) - created > timedelta(days=100)
    simulated.kubelet.set_reachable("api.payments.example.com:443", True)
    await eventually(lambda: rolled_out(cluster, "checkout", "checkout"))


async def test_all_scenarios_are_in_one_cluster_and_bystanders_stay_healthy_though_one_writes_errors(
    world: World,
) -> None:
    names = scenario_names()
    for name in names:
        cluster = await world.broken(name)
        home = load_scenario(name).home
        for bystander in ("web-frontend", "search", "recommendations"):
            assert await rolled_out(cluster, home, bystander), f"{bystander} of {name}"
            assert restarts(await pods(cluster, home, bystander)) == 0
        noisy = (await pods(cluster, home, "recommendations"))[0]["metadata"]["name"]
        assert "ERROR" in await cluster.logs(home, noisy)
    assert sorted(world.simulated.loaded) == names
    with pytest.raises(Conflict, match="already there"):
        await world.simulated.load(names[0])
    with pytest.raises(InvalidInput):
        world.simulated.healthy("nothing")
