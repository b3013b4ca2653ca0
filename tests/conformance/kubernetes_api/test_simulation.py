"""What only the simulation has (faults, logs in memory, snapshots), and the adapter under those faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Rejected, TemporaryError
from cortexops.ports.cluster import PatchType
from sandbox.cluster.faults import Fault
from sandbox.cluster.kinds import BY_KIND, Resource
from sandbox.cluster.server import SimulatedApiServer
from sandbox.cluster.verbs import Options
from tests.conformance.kubernetes_api.conftest import config, deployment, eventually, pod


@pytest.fixture
async def server() -> AsyncIterator[SimulatedApiServer]:
    async with SimulatedApiServer() as server:
        yield server


@pytest.fixture
async def cluster(server: SimulatedApiServer, tmp_path: Path) -> AsyncIterator[KubernetesCluster]:
    kubeconfig = server.kubeconfig(tmp_path / "k")
    async with await KubernetesCluster.connect("sim", kubeconfig, request_timeout=0.5) as cluster:
        yield cluster


async def test_unavailable_server_is_temporary_and_names_the_delay(
    server: SimulatedApiServer, cluster: KubernetesCluster
):
    server.faults.add(Fault(path="/api/v1/", status=503, retry_after=7, times=1))
    with pytest.raises(TemporaryError) as caught:
        await cluster.list("Pod", "default")
    assert caught.value.delay == timedelta(seconds=7)
    assert (await cluster.list("Pod", "default")).items == []


@pytest.mark.parametrize("code", [429, 500, 502, 504])
async def test_overload_and_breakdown_are_temporary(
    server: SimulatedApiServer, cluster: KubernetesCluster, code: int
):
    server.faults.add(Fault(path="configmaps", status=code))
    with pytest.raises(TemporaryError):
        await cluster.create("ConfigMap", "default", config())


async def test_slow_server_is_temporary(server: SimulatedApiServer, cluster: KubernetesCluster):
    server.faults.add(Fault(path="pods", latency=2.0))
    with pytest.raises(TemporaryError, match="in time"):
        await cluster.list("Pod", "default")


async def test_lost_answer_leaves_the_change_made(server: SimulatedApiServer, cluster: KubernetesCluster):
    await cluster.create("ConfigMap", "default", config(a="1"))
    server.faults.add(Fault(path="settings", method="PATCH", hang_after_apply=True, times=1))
    body = {"data": {"a": "2"}}
    with pytest.raises(TemporaryError):
        await cluster.patch("ConfigMap", "default", "settings", body, patch_type=PatchType.MERGE)
    assert (await cluster.get("ConfigMap", "default", "settings"))["data"] == {"a": "2"}


async def test_stopped_server_is_temporary(tmp_path: Path):
    server = SimulatedApiServer()
    await server.start()
    kubeconfig = server.kubeconfig(tmp_path / "k")
    await server.stop()
    async with await KubernetesCluster.connect("sim", kubeconfig) as cluster:
        with pytest.raises(TemporaryError, match="cannot be reached"):
            await cluster.version()


async def test_watch_from_before_the_history_is_a_conflict(tmp_path: Path):
    async with SimulatedApiServer(history=5) as server:
        async with await KubernetesCluster.connect("sim", server.kubeconfig(tmp_path / "k")) as cluster:
            version = (await cluster.list("ConfigMap", "default")).resource_version
            for index in range(10):
                await cluster.create("ConfigMap", "default", config(f"c{index}"))
            with pytest.raises(Conflict, match="too old resource version"):
                async for _ in cluster.watch("ConfigMap", "default", resource_version=version):
                    pass


async def test_list_starts_over_when_its_snapshot_is_compacted(
    server: SimulatedApiServer, cluster: KubernetesCluster
):
    for index in range(6):
        await cluster.create("ConfigMap", "default", config(f"c{index}"))
    server.faults.add(Fault(path="configmaps", method="GET", status=410, times=1))
    assert len((await cluster.list("ConfigMap", "default", limit=2)).items) == 6


async def test_kind_moves_to_the_version_that_has_it(server: SimulatedApiServer, cluster: KubernetesCluster):
    before = cluster.requests
    await cluster.list("HorizontalPodAutoscaler")
    await cluster.list("CronJob")
    await cluster.list("PodDisruptionBudget")
    assert cluster.requests - before == 4  # one for the groups, one for each list
    found = await cluster.list("CronJob")
    assert found.items == []


async def test_token_is_in_no_error(server: SimulatedApiServer, tmp_path: Path):
    token = server.authorizer.identity("nobody").token
    async with await KubernetesCluster.connect("sim", server.kubeconfig(tmp_path / "k", "nobody")) as cluster:
        with pytest.raises(Forbidden) as caught:
            await cluster.list("Secret", "default")
    assert token not in str(caught.value)
    assert token not in repr(server.authorizer.identity("nobody"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just words", "not a kubeconfig"),
        ("a: [", "not readable YAML"),
        ("users: [{name: x, user: {token: s3cret}}]", "no context"),
        (
            "{current-context: a, contexts: [{name: a, context: {user: x}}], clusters: [],"
            " users: [{name: x, user: {token: s3cret}}]}",
            "kubeconfig",
        ),
    ],
)
async def test_bad_kubeconfig_is_explained_without_its_secrets(tmp_path: Path, text: str, message: str):
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=message) as caught:
        await KubernetesCluster.connect("sim", str(path))
    assert "s3cret" not in str(caught.value)


async def test_missing_kubeconfig_and_context_are_named(server: SimulatedApiServer, tmp_path: Path):
    with pytest.raises(InvalidInput, match="no such file"):
        await KubernetesCluster.connect("sim", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match="no context 'other'; known: sandbox"):
        await KubernetesCluster.connect("sim", server.kubeconfig(tmp_path / "k"), "other")


@pytest.mark.parametrize("name", ["..", "a/b", "", "x?y=1", "%2e"])
async def test_name_that_is_no_name_is_not_sent(cluster: KubernetesCluster, name: str):
    before = cluster.requests
    with pytest.raises(InvalidInput):
        await cluster.get("Pod", "default", name)
    assert cluster.requests == before


# -- logs ----------------------------------------------------------------------------------------------


async def test_logs_of_this_life_and_the_one_before(server: SimulatedApiServer, cluster: KubernetesCluster):
    uid = (await cluster.create("Pod", "default", pod()))["metadata"]["uid"]
    with pytest.raises(Rejected, match='previous terminated container "main" in pod "one" not found'):
        await cluster.logs("default", "one", previous=True)
    for line in ("a", "b", "c"):
        server.logs.append("default", uid, "main", line)
    assert await cluster.logs("default", "one", tail_lines=2) == "b\nc\n"
    assert await cluster.logs("default", "one", limit_bytes=3) == "a\nb"
    server.logs.rotate("default", uid, "main")
    assert await cluster.logs("default", "one", "main", previous=True) == "a\nb\nc\n"
    assert await cluster.logs("default", "one") == ""


async def test_log_of_a_container_that_has_not_started_is_refused(
    server: SimulatedApiServer, cluster: KubernetesCluster
):
    await cluster.create("Pod", "default", pod())
    waiting = {"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    status = {"status": {"containerStatuses": [waiting]}}
    await cluster.patch("Pod", "default", "one", status, patch_type=PatchType.MERGE, subresource="status")
    with pytest.raises(Rejected, match="is waiting to start: ImagePullBackOff"):
        await cluster.logs("default", "one")


# -- identities ----------------------------------------------------------------------------------------


async def test_investigator_cannot_write_and_sees_no_secrets(server: SimulatedApiServer, tmp_path: Path):
    kubeconfig = server.kubeconfig(tmp_path / "k", "investigator")
    async with await KubernetesCluster.connect("sim", kubeconfig) as reader:
        await reader.list("Pod")
        assert await reader.may("get", "Pod", "default", subresource="log")
        for verb in ("create", "patch", "update", "delete"):
            assert not await reader.may(verb, "Deployment", "default")
        with pytest.raises(Forbidden):
            await reader.list("Secret")
        with pytest.raises(Forbidden, match="patch deployments in namespace default"):
            await reader.patch("Deployment", "default", "api", [])


async def test_remediator_may_mend_workloads_only(server: SimulatedApiServer, tmp_path: Path):
    kubeconfig = server.kubeconfig(tmp_path / "k", "remediator")
    async with await KubernetesCluster.connect("sim", kubeconfig) as writer:
        assert await writer.may("patch", "Deployment", "default")
        assert await writer.may("create", "Pod", "default", subresource="eviction")
        assert not await writer.may("delete", "Namespace")
        assert not await writer.may("get", "Secret", "default")


# -- keeping -------------------------------------------------------------------------------------------


async def test_objects_outlive_a_restart(tmp_path: Path):
    async with SimulatedApiServer(data_dir=tmp_path / "data") as first:
        made = first.verbs.create(_kind("ConfigMap"), "default", config(a="1"), Options())
    async with SimulatedApiServer(data_dir=tmp_path / "data") as second:
        async with await KubernetesCluster.connect("sim", second.kubeconfig(tmp_path / "k")) as cluster:
            found = await cluster.get("ConfigMap", "default", "settings")
            assert found["metadata"]["uid"] == made["metadata"]["uid"]
            again = await cluster.create("ConfigMap", "default", config("later"))
    assert int(again["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


def _kind(name: str) -> Resource:
    return BY_KIND[name]


async def test_snapshot_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "cluster.json").write_text("not json")
    with pytest.raises(InvalidInput, match="no snapshot"):
        await SimulatedApiServer(data_dir=tmp_path).start()


# -- size ----------------------------------------------------------------------------------------------


async def test_five_thousand_pods_are_listed_in_ten_pages(server: SimulatedApiServer, tmp_path: Path):
    for index in range(5000):
        server.verbs.create(_kind("Pod"), "default", pod(f"p{index:04d}"), Options())
    async with await KubernetesCluster.connect("sim", server.kubeconfig(tmp_path / "k")) as cluster:
        began = time.perf_counter()
        found = await cluster.list("Pod", "default")
        assert len(found.items) == 5000
        assert cluster.requests == 10
        assert len((await cluster.list("Pod", "default", labels="app=p0042")).items) == 1
        assert time.perf_counter() - began < 5


async def test_orphan_of_a_gone_owner_is_collected(server: SimulatedApiServer, cluster: KubernetesCluster):
    reference = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "gone",
        "uid": "none",
        "controller": True,
    }
    body = deployment("left")
    body["metadata"]["ownerReferences"] = [reference]
    await cluster.create("ReplicaSet", "default", body)

    async def gone() -> bool:
        try:
            await cluster.get("ReplicaSet", "default", "left")
        except NotFound:
            return True
        return False

    await eventually(gone)


async def test_many_watchers_all_see_every_change(server: SimulatedApiServer, cluster: KubernetesCluster):
    version = (await cluster.list("ConfigMap", "default")).resource_version

    async def first_ten() -> list[str]:
        names: list[str] = []
        stream = cluster.watch("ConfigMap", "default", resource_version=version, timeout_seconds=10)
        async for event in stream:
            names.append(event.object["metadata"]["name"])
            if len(names) == 10:
                break
        return names

    watchers = [asyncio.create_task(first_ten()) for _ in range(5)]
    for index in range(10):
        await cluster.create("ConfigMap", "default", config(f"c{index}"))
    async with asyncio.timeout(10):
        for names in await asyncio.gather(*watchers):
            assert names == [f"c{index}" for index in range(10)]
