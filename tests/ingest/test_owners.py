"""Owner resolution against the simulated API server, and without any."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.resource import ResourceRef
from ingest.owners import OwnerResolver
from sandbox.cluster.server import SimulatedApiServer
from tests.ingest.support import signal


def owned_by(kind: str, name: str, uid: str) -> dict[str, Any]:
    version = "batch/v1" if kind in {"Job", "CronJob"} else "apps/v1"
    reference = {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True}
    return {"ownerReferences": [reference]}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[tuple[SimulatedApiServer, KubernetesCluster]]:
    async with SimulatedApiServer() as server:
        admin = await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "admin.yaml"))
        async with admin:
            labels = {"environment": "staging"}
            await admin.create("Namespace", "x", {"metadata": {"name": "shop", "labels": labels}})
            yield server, admin


async def make_pod(admin: KubernetesCluster, name: str, owner: dict[str, Any]) -> None:
    spec = {"containers": [{"name": "app", "image": "registry.example/app:1"}]}
    await admin.create("Pod", "shop", {"metadata": {"name": name, **owner}, "spec": spec})


async def make_set(admin: KubernetesCluster, name: str, owner: dict[str, Any]) -> str:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "app", "image": "registry.example/app:1"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    made = await admin.create("ReplicaSet", "shop", {"metadata": {"name": name, **owner}, "spec": spec})
    return str(made["metadata"]["uid"])


async def make_deployment(admin: KubernetesCluster, name: str) -> str:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "app", "image": "registry.example/app:1"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    made = await admin.create("Deployment", "shop", {"metadata": {"name": name}, "spec": spec})
    return str(made["metadata"]["uid"])


async def test_owner_references_lead_to_the_workload_and_are_asked_for_once(
    api: tuple[SimulatedApiServer, KubernetesCluster],
) -> None:
    _, admin = api
    uid = await make_deployment(admin, "odd-name")
    uid = await make_set(admin, "whatever", owned_by("Deployment", "odd-name", uid))
    await make_pod(admin, "plain", owned_by("ReplicaSet", "whatever", uid))
    resolver = OwnerResolver({"test": admin})
    one = signal(kind="Pod", object_name="plain")
    before = admin.requests
    assert str(await resolver.workload(one)) == "Deployment shop/odd-name"
    assert admin.requests == before + 2
    assert [str(found) for found in await resolver.workloads([one] * 50)] == ["Deployment shop/odd-name"] * 50
    assert admin.requests == before + 2


async def test_what_has_gone_is_told_by_its_name(api: tuple[SimulatedApiServer, KubernetesCluster]) -> None:
    _, admin = api
    resolver = OwnerResolver({"test": admin})
    gone = signal(kind="Pod", object_name="api-7d9f8b6c5d-x2z4k")
    assert str(await resolver.workload(gone)) == "Deployment shop/api"


async def test_environments_come_from_the_namespace_label_else_from_the_cluster(
    api: tuple[SimulatedApiServer, KubernetesCluster],
) -> None:
    _, admin = api
    resolver = OwnerResolver({"test": admin}, environments={"test": "development"})

    def there(namespace: str, cluster: str = "test") -> ResourceRef:
        return ResourceRef(cluster=cluster, kind="Deployment", namespace=namespace, name="api")

    assert await resolver.environment(there("shop")) == "staging"
    assert await resolver.environment(there("default")) == "development"
    assert await resolver.environment(there("absent")) == "development"
    assert await resolver.environment(there("shop", "unknown")) == "production"


async def test_a_cluster_that_hangs_costs_one_short_wait_for_all(
    api: tuple[SimulatedApiServer, KubernetesCluster],
) -> None:
    class Hanging:
        name = "test"
        calls = 0

        async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
            import asyncio

            self.calls += 1
            await asyncio.sleep(60)
            return {}

    cluster = Hanging()
    resolver = OwnerResolver({"test": cluster}, timeout=0.1)  # type: ignore[dict-item]
    pods = [signal(kind="Pod", object_name=f"db-{n}") for n in range(100)]
    began = time.monotonic()
    found = await resolver.workloads(pods)
    assert time.monotonic() - began < 1
    assert {str(one) for one in found} == {"StatefulSet shop/db"}
    assert cluster.calls <= 16
    assert str(await resolver.workload(signal(kind="Pod", object_name="web-0"))) == "StatefulSet shop/web"
    assert cluster.calls <= 16  # not asked again for a while


async def test_without_a_cluster_names_and_labels_must_do() -> None:
    resolver = OwnerResolver({})
    one = signal(kind="Pod", object_name="odd", labels={"statefulset": "db"})
    assert str(await resolver.workload(one)) == "StatefulSet shop/db"
    node = signal(kind="Node", object_name="n1", namespace="")
    assert str(await resolver.workload(node)) == "Node n1"
