"""Every scenario reaches its broken state by itself, and its true remedy, done by hand, heals it (or not)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.ports.cluster import PatchType
from sandbox.cluster.controllers.clock import parse_stamp
from sandbox.cluster.simulation import SimulatedCluster
from tests.sandbox.support import SPEED, events, eventually, pods, restarts, rolled_out, template_of


@asynccontextmanager
async def broken(
    name: str, eviction: float = 120.0
) -> AsyncIterator[tuple[SimulatedCluster, KubernetesCluster]]:
    """A cluster in which the scenario has just gone wrong."""
    async with SimulatedCluster(speed=SPEED, eviction_seconds=eviction) as simulated:
        await simulated.play(name, within=20)
        yield simulated, await simulated.cluster()


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


async def test_oom_after_release_is_killed_at_512mi_and_heals_at_1gi() -> None:
    async with broken("oom-after-release") as (simulated, cluster):
        deployment = await cluster.get("Deployment", "production", "payment-service")
        assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "12"
        sets = (await cluster.list("ReplicaSet", "production", labels="app=payment-service")).items
        revisions = {one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for one in sets}
        assert revisions == {"10", "11", "12"}
        killed = [
            one["lastState"]["terminated"]
            for pod in await pods(cluster, "production", "payment-service")
            for one in pod["status"]["containerStatuses"]
            if one["lastState"]
        ]
        assert {(one["exitCode"], one["reason"]) for one in killed} == {(137, "OOMKilled")}
        named = simulated.alert()["alerts"][0]["labels"]["pod"]
        assert "INFO" in await cluster.logs("production", named, previous=True)
        await set_memory(cluster, "production", "payment-service", "1Gi")
        await eventually(lambda: rolled_out(cluster, "production", "payment-service"))
        await asyncio.sleep(100 / SPEED)  # more than one spike of every pod
        assert restarts(await pods(cluster, "production", "payment-service")) == 0
        assert await rolled_out(cluster, "production", "payment-service")
        memory = [size for (_, pod, _), size in simulated.kubelet.usage().items() if "payment" in pod]
        assert all(size >= 490 * 2**20 for size in memory)


async def test_configmap_changed_hours_ago_crashes_on_restart_and_heals_when_it_is_put_right() -> None:
    async with broken("configmap-changed-hours-ago") as (_, cluster):
        config = await cluster.get("ConfigMap", "production", "orders-api-config")
        writers = {entry["manager"]: entry for entry in config["metadata"]["managedFields"]}
        changed = parse_stamp(writers["orders-db-migrate"]["time"])
        assert timedelta(hours=5, minutes=59) < datetime.now(UTC) - changed < timedelta(hours=6, minutes=2)
        assert "f:DB_PORT" in writers["orders-db-migrate"]["fieldsV1"]["f:data"]
        crashing = await pods(cluster, "production", "orders-api")
        state = crashing[0]["status"]["containerStatuses"][0]
        assert state["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert state["lastState"]["terminated"]["exitCode"] == 1
        log = await cluster.logs("production", crashing[0]["metadata"]["name"])
        assert "DB_PORT must be an integer, got '5432/orders_v2'" in log
        assert any(
            "Back-off restarting failed container" in m
            for m in await events(cluster, "production", "BackOff")
        )
        await cluster.patch(
            "ConfigMap",
            "production",
            "orders-api-config",
            {"data": {"DB_PORT": "5432"}},
            patch_type=PatchType.MERGE,
        )
        for pod in crashing:
            await cluster.delete("Pod", "production", pod["metadata"]["name"])
        await eventually(lambda: rolled_out(cluster, "production", "orders-api"))


async def test_a_typing_error_in_the_image_leaves_the_old_pods_serving_and_undo_heals() -> None:
    async with broken("image-typo-rollout") as (_, cluster):
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


async def test_a_wrong_readiness_path_stalls_the_rollout_and_undo_heals() -> None:
    async with broken("bad-readiness-probe") as (_, cluster):
        deployment = await cluster.get("Deployment", "production", "catalog-api")
        conditions = {entry["type"]: entry for entry in deployment["status"]["conditions"]}
        assert conditions["Progressing"]["reason"] == "ProgressDeadlineExceeded"
        assert conditions["Available"]["status"] == "True"
        unhealthy = await events(cluster, "production", "Unhealthy")
        assert "Readiness probe failed: HTTP probe failed with statuscode: 404" in unhealthy
        await undo(cluster, "production", "catalog-api", 3)
        await eventually(lambda: rolled_out(cluster, "production", "catalog-api"))


async def test_one_dead_node_takes_eight_workloads_down_and_most_move_away() -> None:
    async with broken("node-not-ready-cascade", eviction=30.0) as (simulated, cluster):
        node = await cluster.get("Node", "", "node-2")
        ready = next(entry for entry in node["status"]["conditions"] if entry["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
        assert ready["message"] == "Kubelet stopped posting node status."
        taints = {taint["key"] for taint in node["spec"]["taints"]}
        assert taints == {"node.kubernetes.io/unreachable"}
        assert len(simulated.alert()["alerts"]) == 9
        await eventually(lambda: rolled_out(cluster, "production", "shipping"), 20)
        moved = await pods(cluster, "production", "shipping")
        assert moved[0]["spec"]["nodeName"] != "node-2"
        assert "Node is not ready" in await events(cluster, "platform", "NodeNotReady")
        simulated.kubelet.heal_node("node-2")

        async def back() -> bool:
            store = await cluster.get("StatefulSet", "platform", "audit-store")
            return bool(store["status"].get("readyReplicas") == 1)

        await eventually(back)
        assert not (await cluster.get("Node", "", "node-2"))["spec"].get("taints")


@pytest.mark.parametrize("remedy", ["limit", "undo"])
async def test_no_remedy_helps_against_a_leak(remedy: str) -> None:
    async with broken("fix-does-not-help") as (_, cluster):
        if remedy == "limit":
            await set_memory(cluster, "staging", "report-builder", "1Gi")
        else:
            await undo(cluster, "staging", "report-builder", 7)

        async def replaced() -> bool:
            current = await cluster.get("Deployment", "staging", "report-builder")
            status = current["status"]
            return bool(status.get("updatedReplicas") == status.get("replicas") == 2)

        await eventually(replaced)

        async def killed_again() -> bool:
            found = await pods(cluster, "staging", "report-builder")
            return all(one["restartCount"] for pod in found for one in pod["status"]["containerStatuses"])

        await eventually(killed_again, 90 / SPEED * 2)


async def test_a_dependency_outside_is_down_and_nothing_inside_changed() -> None:
    async with broken("dependency-outside-the-cluster") as (simulated, cluster):
        found = await pods(cluster, "production", "checkout")
        assert restarts(found) == 0
        log = await cluster.logs("production", found[0]["metadata"]["name"])
        assert 'Post "https://api.payments.example.com:443/v1/charges": dial tcp' in log
        assert "i/o timeout" in log
        endpoints = await cluster.get("Endpoints", "production", "checkout")
        assert not endpoints["subsets"][0].get("addresses")
        deployment = await cluster.get("Deployment", "production", "checkout")
        created = parse_stamp(deployment["metadata"]["creationTimestamp"])
        assert datetime.now(UTC) - created > timedelta(days=100)
        simulated.kubelet.set_reachable("api.payments.example.com:443", True)
        await eventually(lambda: rolled_out(cluster, "production", "checkout"))


async def test_bystanders_stay_healthy_though_one_writes_errors() -> None:
    async with broken("image-typo-rollout") as (_, cluster):
        await asyncio.sleep(30 / SPEED)
        for name in ("web-frontend", "search", "recommendations"):
            assert await rolled_out(cluster, "production", name)
        noisy = (await pods(cluster, "production", "recommendations"))[0]["metadata"]["name"]
        assert "ERROR" in await cluster.logs("production", noisy)
