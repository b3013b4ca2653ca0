"""Control loops other than Deployments, end to end in the simulated cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.resource import JSON
from cortexops.ports.cluster import PatchType
from sandbox.cluster.kubelet.images import Images
from sandbox.cluster.kubelet.models import Crash, WorkloadModel
from sandbox.cluster.simulation import SimulatedCluster
from tests.sandbox.support import SPEED, events, eventually, pods


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[KubernetesCluster]:
    async with SimulatedCluster(speed=SPEED) as simulated:
        bad = WorkloadModel(name="bad", image="bad:*", crash=Crash(after=1))
        simulated.kubelet.declare([bad], Images())
        yield await simulated.cluster()


def workload(kind: str, name: str, image: str = "good:1", pod: JSON | None = None, **spec) -> JSON:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": name, "image": image}], **(pod or {})},
    }
    group = "batch/v1" if kind == "Job" else "apps/v1"
    selector = {} if kind == "Job" else {"selector": {"matchLabels": {"app": name}}}
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**selector, "template": template, **spec},
    }


async def status(cluster: KubernetesCluster, kind: str, name: str, field: str) -> int:
    return int(((await cluster.get(kind, "default", name)).get("status") or {}).get(field) or 0)


async def test_a_stateful_set_grows_in_order_and_updates_from_the_top(cluster: KubernetesCluster) -> None:
    await cluster.create(
        "StatefulSet", "default", workload("StatefulSet", "db", replicas=3, serviceName="db")
    )

    async def ready() -> bool:
        return await status(cluster, "StatefulSet", "db", "readyReplicas") == 3

    await eventually(ready)
    made = [m for m in await events(cluster, "default", "SuccessfulCreate") if "StatefulSet db" in m]
    assert [f"db-{n}" in m for n, m in enumerate(sorted(made))] == [True] * 3
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "good:2"}]
    await cluster.patch("StatefulSet", "default", "db", image)

    async def updated() -> bool:
        found = await pods(cluster, "default", "db")
        images = [pod["spec"]["containers"][0]["image"] for pod in found]
        return images == ["good:2"] * 3 and await ready()

    await eventually(updated)


async def test_a_daemon_set_runs_on_every_node(cluster: KubernetesCluster) -> None:
    await cluster.create("DaemonSet", "default", workload("DaemonSet", "agent"))

    async def everywhere() -> bool:
        return await status(cluster, "DaemonSet", "agent", "numberReady") == 3

    await eventually(everywhere)
    found = await pods(cluster, "default", "agent")
    assert {pod["spec"]["nodeName"] for pod in found} == {"node-1", "node-2", "node-3"}


async def test_a_job_completes_and_one_that_always_fails_gives_up(cluster: KubernetesCluster) -> None:
    never: JSON = {"restartPolicy": "Never"}
    await cluster.create("Job", "default", workload("Job", "once", pod=never))
    await cluster.create(
        "Job", "default", workload("Job", "doomed", image="bad:1", pod=never, backoffLimit=1)
    )

    async def ended() -> bool:
        done = [
            (await cluster.get("Job", "default", name)).get("status") or {} for name in ("once", "doomed")
        ]
        kinds = [{entry["type"] for entry in one.get("conditions") or ()} for one in done]
        return "Complete" in kinds[0] and "Failed" in kinds[1]

    await eventually(ended)
    assert await status(cluster, "Job", "doomed", "failed") == 2
    assert "Job has reached the specified backoff limit" in await events(
        cluster, "default", "BackoffLimitExceeded"
    )


async def test_a_job_says_how_many_of_its_pods_are_ready(cluster: KubernetesCluster) -> None:
    never: JSON = {"restartPolicy": "Never"}
    nowhere = never | {"nodeSelector": {"never": "there"}}
    await cluster.create("Job", "default", workload("Job", "long", image="long:1", pod=never))
    await cluster.create("Job", "default", workload("Job", "waits", pod=nowhere))

    async def runs() -> bool:
        return await status(cluster, "Job", "long", "ready") == 1

    await eventually(runs)
    said = [(await cluster.get("Job", "default", name))["status"] for name in ("long", "waits")]
    assert [(one["active"], one["ready"]) for one in said] == [(1, 1), (1, 0)]


async def test_a_pod_that_fits_nowhere_waits_and_is_scheduled_when_a_node_is_uncordoned(
    cluster: KubernetesCluster,
) -> None:
    for name in ("node-1", "node-2", "node-3"):
        await cluster.patch("Node", "", name, {"spec": {"unschedulable": True}}, patch_type=PatchType.MERGE)
    await cluster.create("Deployment", "default", workload("Deployment", "web", replicas=1))

    async def refused() -> list[str]:
        return await events(cluster, "default", "FailedScheduling")

    message = (await eventually(refused))[0]
    assert message.startswith("0/3 nodes are available: 3 node(s) were unschedulable. preemption: ")
    await cluster.patch("Node", "", "node-2", {"spec": {"unschedulable": None}}, patch_type=PatchType.MERGE)

    async def runs() -> bool:
        return await status(cluster, "Deployment", "web", "availableReplicas") == 1

    await eventually(runs)


async def test_a_request_that_no_node_can_hold_is_explained(cluster: KubernetesCluster) -> None:
    body = workload("Deployment", "huge", replicas=1)
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"memory": "64Gi"}}
    await cluster.create("Deployment", "default", body)

    async def refused() -> list[str]:
        return await events(cluster, "default", "FailedScheduling")

    assert (await eventually(refused))[0] == (
        "0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes are available: "
        "3 No preemption victims found for incoming pod."
    )


async def test_a_deleted_deployment_leaves_nothing_behind(cluster: KubernetesCluster) -> None:
    await cluster.create("Deployment", "default", workload("Deployment", "web", replicas=2))

    async def runs() -> bool:
        return await status(cluster, "Deployment", "web", "availableReplicas") == 2

    await eventually(runs)
    await cluster.delete("Deployment", "default", "web")

    async def gone() -> bool:
        left = [
            *(await cluster.list("ReplicaSet", "default")).items,
            *(await cluster.list("Pod", "default")).items,
        ]
        return not left

    await eventually(gone)


async def test_a_missing_config_map_is_named_until_it_is_created(cluster: KubernetesCluster) -> None:
    body = workload("Deployment", "web", replicas=1)
    body["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "env"}}]
    await cluster.create("Deployment", "default", body)

    async def failed() -> bool:
        return 'Error: configmap "env" not found' in await events(cluster, "default", "Failed")

    await eventually(failed)
    found = (await pods(cluster, "default", "web"))[0]["status"]["containerStatuses"][0]["state"]["waiting"]
    assert found == {"reason": "CreateContainerConfigError", "message": 'configmap "env" not found'}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "env", "namespace": "default"}}
    await cluster.create("ConfigMap", "default", made)

    async def runs() -> bool:
        return await status(cluster, "Deployment", "web", "availableReplicas") == 1

    await eventually(runs)
