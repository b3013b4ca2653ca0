"""Status, scale, eviction, binding, logs."""

from __future__ import annotations

from typing import Any

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict, NotFound, Rejected, TemporaryError
from cortexops.ports.cluster import PatchType
from tests.conformance.kubernetes_api.conftest import Target, deployment, eventually, pod


async def running(cluster: KubernetesCluster, space: str, name: str, **labels: str) -> None:
    """A pod that says that it runs and is ready."""
    await cluster.create("Pod", space, pod(name, labels=labels or None))
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"status": {"phase": "Running", "conditions": conditions}}
    await cluster.patch("Pod", space, name, status, patch_type=PatchType.MERGE, subresource="status")


async def test_status_is_ignored_where_the_spec_is_written(cluster: KubernetesCluster, space: str):
    made = await cluster.create("Pod", space, pod() | {"status": {"phase": "Running"}})
    assert made["status"]["phase"] == "Pending"
    same = await cluster.patch(
        "Pod", space, "one", {"status": {"phase": "Failed"}}, patch_type=PatchType.MERGE
    )
    assert same["status"]["phase"] == "Pending"


async def test_spec_is_ignored_where_the_status_is_written(cluster: KubernetesCluster, space: str):
    await cluster.create("Deployment", space, deployment(paused=True))
    body = {"spec": {"replicas": 5}, "status": {"collisionCount": 3}}
    made = await cluster.patch(
        "Deployment", space, "api", body, patch_type=PatchType.MERGE, subresource="status"
    )
    assert made["spec"]["replicas"] == 0
    assert made["status"]["collisionCount"] == 3
    assert made["metadata"]["generation"] == 1


async def test_conditions_are_merged_by_type(cluster: KubernetesCluster, space: str):
    await running(cluster, space, "one")
    body = {"status": {"conditions": [{"type": "Initialized", "status": "True"}]}}
    made = await cluster.patch(
        "Pod", space, "one", body, patch_type=PatchType.STRATEGIC, subresource="status"
    )
    assert {c["type"] for c in made["status"]["conditions"]} >= {"Ready", "Initialized"}


async def test_scale_reads_and_writes_replicas(cluster: KubernetesCluster, target: Target, space: str):
    await cluster.create("Deployment", space, deployment(paused=True))
    path = f"/apis/apps/v1/namespaces/{space}/deployments/api/scale"
    code, scale = await target.send("GET", path)
    assert (code, scale["kind"], scale["apiVersion"]) == (200, "Scale", "autoscaling/v1")
    assert scale["spec"].get("replicas", 0) == 0
    assert scale["status"]["selector"] == "app=api"
    made = await cluster.patch(
        "Deployment", space, "api", {"spec": {"replicas": 3}}, patch_type=PatchType.MERGE, subresource="scale"
    )
    assert made["spec"]["replicas"] == 3
    found = await cluster.get("Deployment", space, "api")
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 2)


async def test_scale_dry_run_and_refusal(cluster: KubernetesCluster, space: str):
    await cluster.create("Deployment", space, deployment())
    body = {"metadata": {"name": "api", "namespace": space}, "spec": {"replicas": 2}}
    shown = await cluster.replace("Deployment", space, "api", body, subresource="scale", dry_run=True)
    assert shown["spec"]["replicas"] == 2
    assert (await cluster.get("Deployment", space, "api"))["spec"]["replicas"] == 0
    with pytest.raises(Rejected, match="must be greater than or equal to 0"):
        await cluster.patch(
            "Deployment",
            space,
            "api",
            {"spec": {"replicas": -1}},
            patch_type=PatchType.MERGE,
            subresource="scale",
        )


async def budget(cluster: KubernetesCluster, space: str, healthy: int, **spec: Any) -> None:
    selector = {"matchLabels": {"app": "web"}}
    await cluster.create(
        "PodDisruptionBudget", space, {"metadata": {"name": "pdb"}, "spec": {"selector": selector} | spec}
    )

    async def known() -> bool:
        status = (await cluster.get("PodDisruptionBudget", space, "pdb")).get("status") or {}
        return bool(status.get("currentHealthy") == healthy and status.get("observedGeneration"))

    await eventually(known)


async def evict(cluster: KubernetesCluster, space: str, name: str, *, dry_run: bool = False) -> None:
    body = {"metadata": {"name": name, "namespace": space}}
    await cluster.create("Pod", space, body, name=name, subresource="eviction", dry_run=dry_run)


async def test_eviction_deletes_the_pod(cluster: KubernetesCluster, space: str):
    await running(cluster, space, "one")
    await evict(cluster, space, "one")
    with pytest.raises(NotFound):
        await cluster.get("Pod", space, "one")


async def test_dry_run_eviction_keeps_the_pod_and_asks_the_budget(cluster: KubernetesCluster, space: str):
    await running(cluster, space, "one", app="web")
    await evict(cluster, space, "one", dry_run=True)
    assert not (await cluster.get("Pod", space, "one"))["metadata"].get("deletionTimestamp")
    await budget(cluster, space, 1, minAvailable=1)
    with pytest.raises(TemporaryError):
        await evict(cluster, space, "one", dry_run=True)


async def test_eviction_of_a_missing_pod_is_404(cluster: KubernetesCluster, space: str):
    with pytest.raises(NotFound):
        await evict(cluster, space, "none")


async def test_eviction_against_the_budget_is_429(cluster: KubernetesCluster, space: str):
    await running(cluster, space, "one", app="web")
    await budget(cluster, space, 1, minAvailable=1)
    with pytest.raises(TemporaryError, match="violate the pod's disruption budget"):
        await evict(cluster, space, "one")
    assert not (await cluster.get("Pod", space, "one"))["metadata"].get("deletionTimestamp")


async def test_eviction_within_the_budget_works_once(cluster: KubernetesCluster, space: str):
    await running(cluster, space, "one", app="web")
    await running(cluster, space, "two", app="web")
    await budget(cluster, space, 2, minAvailable=1)
    await evict(cluster, space, "one")
    with pytest.raises(TemporaryError):
        await evict(cluster, space, "two")


async def test_binding_assigns_a_node_once(cluster: KubernetesCluster, space: str):
    await cluster.create("Pod", space, pod())
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "one"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-a"},
    }
    await cluster.create("Pod", space, body, name="one", subresource="binding")
    found = await cluster.get("Pod", space, "one")
    assert found["spec"]["nodeName"] == "node-a"
    with pytest.raises(Conflict, match="already assigned to node"):
        await cluster.create("Pod", space, body, name="one", subresource="binding")


async def test_log_of_a_missing_pod_is_404(cluster: KubernetesCluster, space: str):
    with pytest.raises(NotFound):
        await cluster.logs(space, "none")


async def test_log_needs_to_know_the_container(cluster: KubernetesCluster, space: str):
    body = pod()
    body["spec"]["containers"].append({"name": "sidecar", "image": "proxy:1"})
    await cluster.create("Pod", space, body)
    with pytest.raises(Rejected, match="a container name must be specified for pod one, choose one of"):
        await cluster.logs(space, "one")
    with pytest.raises(Rejected, match="container nope is not valid for pod one"):
        await cluster.logs(space, "one", "nope")
