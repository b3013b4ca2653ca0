"""The real kubectl against the simulated API server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.ports.cluster import PatchType
from sandbox.cluster.server import SimulatedApiServer
from tests.conformance.kubernetes_api.conftest import deployment, pod

KUBECTL = Path(sys.executable).parent / "kubectl"
pytestmark = pytest.mark.skipif(not KUBECTL.exists(), reason="no kubectl: install the `embedded` extra")


class Kubectl:
    """Runs kubectl; `said` is what it printed on both streams."""

    def __init__(self, kubeconfig: str, home: Path) -> None:
        self._environment = {"KUBECONFIG": kubeconfig, "HOME": str(home), "PATH": os.environ["PATH"]}

    async def __call__(self, *arguments: str, fails: bool = False) -> str:
        process = await asyncio.create_subprocess_exec(
            str(KUBECTL),
            *arguments,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
        said = output.decode()
        assert (process.returncode != 0) is fails, said
        return said


@pytest.fixture
async def server() -> AsyncIterator[SimulatedApiServer]:
    async with SimulatedApiServer() as server:
        yield server


@pytest.fixture
def kubectl(server: SimulatedApiServer, tmp_path: Path) -> Kubectl:
    return Kubectl(server.kubeconfig(tmp_path / "kubeconfig"), tmp_path)


@pytest.fixture
async def cluster(server: SimulatedApiServer, tmp_path: Path) -> AsyncIterator[KubernetesCluster]:
    async with await KubernetesCluster.connect("sim", server.kubeconfig(tmp_path / "k")) as cluster:
        yield cluster


async def crashing_pod(server: SimulatedApiServer, cluster: KubernetesCluster) -> None:
    made = await cluster.create("Pod", "default", pod())
    uid = made["metadata"]["uid"]
    server.logs.append("default", uid, "main", "first life")
    server.logs.rotate("default", uid, "main")
    server.logs.append("default", uid, "main", "second life")
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2024-01-01T00:00:00Z"}}
    state = {
        "name": "main",
        "ready": False,
        "restartCount": 4,
        "image": "registry.local/api:1.0",
        "imageID": "",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": ended,
    }
    status = {"status": {"phase": "Running", "containerStatuses": [state]}}
    await cluster.patch("Pod", "default", "one", status, patch_type=PatchType.MERGE, subresource="status")
    about = {"kind": "Pod", "namespace": "default", "name": "one", "uid": uid}
    event = {
        "metadata": {"name": "one.1"},
        "involvedObject": about,
        "reason": "BackOff",
        "message": "Back-off restarting failed container",
        "type": "Warning",
        "count": 3,
        "firstTimestamp": "2024-01-01T00:00:00Z",
        "lastTimestamp": "2024-01-01T00:01:00Z",
        "source": {"component": "kubelet"},
    }
    await cluster.create("Event", "default", event)


async def test_get_prints_the_usual_columns(
    server: SimulatedApiServer, cluster: KubernetesCluster, kubectl: Kubectl
):
    await crashing_pod(server, cluster)
    heads, row = (await kubectl("get", "pods")).splitlines()
    assert heads.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[:4] == ["one", "0/1", "CrashLoopBackOff", "4"]
    assert "NODE" in await kubectl("get", "pods", "-o", "wide")
    assert await kubectl("get", "pod", "one", "-o", "jsonpath={.metadata.name}") == "one"
    assert "pod/one" in await kubectl("get", "pods", "-o", "name", "-l", "app=one")
    assert "No resources found" in await kubectl("get", "pods", "-l", "app=other")
    assert "Error from server (NotFound)" in await kubectl("get", "pod", "none", fails=True)


async def test_describe_and_logs(server: SimulatedApiServer, cluster: KubernetesCluster, kubectl: Kubectl):
    await crashing_pod(server, cluster)
    said = await kubectl("describe", "pod", "one")
    assert "CrashLoopBackOff" in said
    assert "Back-off restarting failed container" in said
    assert await kubectl("logs", "one") == "second life\n"
    assert await kubectl("logs", "one", "--previous") == "first life\n"
    assert "BackOff" in await kubectl("get", "events")


async def test_patch_scale_and_rollout(cluster: KubernetesCluster, kubectl: Kubectl):
    await cluster.create("Deployment", "default", deployment())
    change = '{"spec":{"minReadySeconds":5}}'
    said = await kubectl("patch", "deployment", "api", "-p", change, "--dry-run=server", "-o", "yaml")
    assert "minReadySeconds: 5" in said
    assert "minReadySeconds" not in (await cluster.get("Deployment", "default", "api"))["spec"]
    await kubectl("scale", "deployment", "api", "--replicas=2")
    assert "api    0/2" in await kubectl("get", "deployment", "api")
    await kubectl("rollout", "restart", "deployment/api")
    await kubectl("set", "image", "deployment/api", "main=registry.local/api:2.0")
    found = await cluster.get("Deployment", "default", "api")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.local/api:2.0"
    assert "kubectl.kubernetes.io/restartedAt" in found["spec"]["template"]["metadata"]["annotations"]


async def test_rollout_undo_and_status(cluster: KubernetesCluster, kubectl: Kubectl):
    made = await cluster.create("Deployment", "default", deployment())
    owner = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "api",
        "uid": made["metadata"]["uid"],
        "controller": True,
    }
    for revision, image in (("1", "registry.local/api:0.9"), ("2", "registry.local/api:1.0")):
        body = deployment()
        body["metadata"] |= {
            "name": f"api-{revision}",
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "ownerReferences": [owner],
        }
        labels = {"app": "api", "pod-template-hash": revision}
        body["spec"]["selector"] = {"matchLabels": labels}
        body["spec"]["template"]["metadata"]["labels"] = labels
        body["spec"]["template"]["spec"]["containers"][0]["image"] = image
        await cluster.create("ReplicaSet", "default", body)
    note = {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}
    await cluster.patch("Deployment", "default", "api", note, patch_type=PatchType.MERGE)
    assert "REVISION" in await kubectl("rollout", "history", "deployment/api")
    assert "rolled back" in await kubectl("rollout", "undo", "deployment/api")
    found = await cluster.get("Deployment", "default", "api")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.local/api:0.9"
    status = {"status": {"observedGeneration": found["metadata"]["generation"]}}
    await cluster.patch(
        "Deployment", "default", "api", status, patch_type=PatchType.MERGE, subresource="status"
    )
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/api", "--timeout=10s")


async def test_apply_creates_configures_and_leaves_alone(kubectl: Kubectl, tmp_path: Path):
    manifest = tmp_path / "settings.yaml"
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {level: LEVEL}\n"
    manifest.write_text(text.replace("LEVEL", "info"))
    assert "created" in await kubectl("apply", "-f", str(manifest))
    assert "unchanged" in await kubectl("apply", "-f", str(manifest))
    manifest.write_text(text.replace("LEVEL", "debug"))
    assert "configured" in await kubectl("apply", "-f", str(manifest))
    assert await kubectl("get", "cm", "settings", "-o", "jsonpath={.data.level}") == "debug"
    said = await kubectl("apply", "--server-side", "-f", str(manifest), fails=True)
    assert "Server-side apply not available" in said
    assert "deleted" in await kubectl("delete", "-f", str(manifest))


async def test_questions_about_the_server(kubectl: Kubectl, server: SimulatedApiServer, tmp_path: Path):
    assert "cortexops.sandbox" in await kubectl("version")
    said = await kubectl("api-resources")
    assert "deployments" in said
    assert "horizontalpodautoscalers" in said
    assert (await kubectl("auth", "can-i", "delete", "pods")).strip() == "yes"
    nobody = Kubectl(server.kubeconfig(tmp_path / "nobody", "nobody"), tmp_path)
    assert "no" in await nobody("auth", "can-i", "delete", "pods", fails=True)
    said = await nobody("get", "pods", fails=True)
    assert 'User "nobody" cannot list resource "pods"' in said


async def test_cordon_and_drain(cluster: KubernetesCluster, kubectl: Kubectl):
    await cluster.create("Node", "", {"metadata": {"name": "node-a"}})
    await cluster.create("Pod", "default", pod())
    body = {"metadata": {"name": "one"}, "target": {"kind": "Node", "name": "node-a"}}
    await cluster.create("Pod", "default", body, name="one", subresource="binding")
    assert "cordoned" in await kubectl("cordon", "node-a")
    assert "SchedulingDisabled" in await kubectl("get", "nodes")
    drained = asyncio.create_task(kubectl("drain", "node-a", "--force", "--timeout=20s"))
    async with asyncio.timeout(15):
        while not (await cluster.get("Pod", "default", "one"))["metadata"].get("deletionTimestamp"):
            await asyncio.sleep(0.05)
    await cluster.delete("Pod", "default", "one", grace_seconds=0)
    assert "drained" in await drained


async def test_create_commands_that_speak_protobuf(kubectl: Kubectl):
    assert "created" in await kubectl("create", "namespace", "shop")
    said = await kubectl("create", "deployment", "web", "--image=web:1", "--replicas=0", "-n", "shop")
    assert "created" in said
    assert "web" in await kubectl("get", "deployment", "-n", "shop")
    assert "created" in await kubectl("create", "configmap", "c", "--from-literal=a=b", "-n", "shop")
    said = await kubectl("create", "secret", "generic", "s", "--from-literal=a=b", fails=True)
    assert "use kubectl apply -f" in said
