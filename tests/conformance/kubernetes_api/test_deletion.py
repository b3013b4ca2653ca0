"""Preconditions, grace, finalizers and what goes with an owner."""

from __future__ import annotations

from typing import Any

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict, NotFound
from cortexops.ports.cluster import PatchType
from tests.conformance.kubernetes_api.conftest import Target, config, eventually, pod

OTHER = "11111111-1111-1111-1111-111111111111"


async def gone(cluster: KubernetesCluster, kind: str, space: str, name: str) -> bool:
    try:
        await cluster.get(kind, space, name)
    except NotFound:
        return True
    return False


def owned(name: str, owner: dict[str, Any]) -> dict[str, Any]:
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {"metadata": {"name": name, "ownerReferences": [reference]}}


async def test_delete_removes(cluster: KubernetesCluster, space: str):
    await cluster.create("ConfigMap", space, config())
    await cluster.delete("ConfigMap", space, "settings")
    assert await gone(cluster, "ConfigMap", space, "settings")
    with pytest.raises(NotFound):
        await cluster.delete("ConfigMap", space, "settings")


async def test_delete_of_another_uid_is_a_conflict(cluster: KubernetesCluster, target: Target, space: str):
    made = await cluster.create("ConfigMap", space, config())
    with pytest.raises(Conflict, match="UID in the precondition"):
        await cluster.delete("ConfigMap", space, "settings", uid=OTHER)
    path = f"/api/v1/namespaces/{space}/configmaps/settings"
    code, status = await target.send("DELETE", path, {"preconditions": {"uid": OTHER}})
    assert (code, status["reason"]) == (409, "Conflict")
    await cluster.delete("ConfigMap", space, "settings", uid=made["metadata"]["uid"])
    assert await gone(cluster, "ConfigMap", space, "settings")


async def test_answer_to_a_deletion_is_a_status(cluster: KubernetesCluster, target: Target, space: str):
    made = await cluster.create("ConfigMap", space, config())
    code, status = await target.send("DELETE", f"/api/v1/namespaces/{space}/configmaps/settings")
    assert (code, status["kind"], status["status"]) == (200, "Status", "Success")
    assert status["details"] == {"name": "settings", "kind": "configmaps", "uid": made["metadata"]["uid"]}


async def test_unscheduled_pod_goes_at_once(cluster: KubernetesCluster, space: str):
    await cluster.create("Pod", space, pod())
    await cluster.delete("Pod", space, "one")
    assert await gone(cluster, "Pod", space, "one")


async def test_scheduled_pod_waits_for_its_kubelet(cluster: KubernetesCluster, space: str):
    body = pod()
    body["spec"] |= {"nodeName": "node-a", "terminationGracePeriodSeconds": 7}
    await cluster.create("Pod", space, body)
    await cluster.delete("Pod", space, "one")
    found = await cluster.get("Pod", space, "one")
    assert found["metadata"]["deletionTimestamp"]
    assert found["metadata"]["deletionGracePeriodSeconds"] == 7
    await cluster.delete("Pod", space, "one", grace_seconds=0)
    assert await gone(cluster, "Pod", space, "one")


async def test_finalizer_holds_an_object_until_it_is_taken_off(cluster: KubernetesCluster, space: str):
    body = config()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await cluster.create("ConfigMap", space, body)
    await cluster.delete("ConfigMap", space, "settings")
    found = await cluster.get("ConfigMap", space, "settings")
    assert found["metadata"]["deletionTimestamp"]
    await cluster.patch(
        "ConfigMap", space, "settings", {"metadata": {"finalizers": None}}, patch_type=PatchType.MERGE
    )
    assert await gone(cluster, "ConfigMap", space, "settings")


async def test_dependents_go_with_their_owner(cluster: KubernetesCluster, space: str):
    owner = await cluster.create("ConfigMap", space, config("owner"))
    child = await cluster.create("ConfigMap", space, owned("child", owner))
    await cluster.create("ConfigMap", space, owned("grandchild", child))
    await cluster.create("ConfigMap", space, config("stranger"))
    await cluster.delete("ConfigMap", space, "owner")

    async def all_gone() -> bool:
        return await gone(cluster, "ConfigMap", space, "grandchild")

    await eventually(all_gone)
    assert await gone(cluster, "ConfigMap", space, "child")
    assert not await gone(cluster, "ConfigMap", space, "stranger")


async def test_orphans_stay(cluster: KubernetesCluster, target: Target, space: str):
    owner = await cluster.create("ConfigMap", space, config("owner"))
    await cluster.create("ConfigMap", space, owned("child", owner))
    path = f"/api/v1/namespaces/{space}/configmaps/owner"
    await target.send("DELETE", path, {"propagationPolicy": "Orphan"})

    async def owner_gone() -> bool:
        return await gone(cluster, "ConfigMap", space, "owner")

    await eventually(owner_gone)
    child = await cluster.get("ConfigMap", space, "child")
    assert "ownerReferences" not in child["metadata"]


async def test_foreground_deletion_waits_for_dependents(
    cluster: KubernetesCluster, target: Target, space: str
):
    owner = await cluster.create("ConfigMap", space, config("owner"))
    child = owned("child", owner)
    child["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = True
    child["metadata"]["finalizers"] = ["example.com/hold"]
    await cluster.create("ConfigMap", space, child)
    path = f"/api/v1/namespaces/{space}/configmaps/owner"
    await target.send("DELETE", path, {"propagationPolicy": "Foreground"})

    async def child_marked() -> Any:
        return (await cluster.get("ConfigMap", space, "child"))["metadata"].get("deletionTimestamp")

    await eventually(child_marked)
    assert "foregroundDeletion" in (await cluster.get("ConfigMap", space, "owner"))["metadata"]["finalizers"]
    await cluster.patch(
        "ConfigMap", space, "child", {"metadata": {"finalizers": None}}, patch_type=PatchType.MERGE
    )

    async def owner_gone() -> bool:
        return await gone(cluster, "ConfigMap", space, "owner")

    await eventually(owner_gone)


async def test_namespace_takes_its_contents_along(cluster: KubernetesCluster, space: str):
    await cluster.create("ConfigMap", space, config())
    await cluster.delete("Namespace", "", space)

    async def all_gone() -> bool:
        return await gone(cluster, "Namespace", "", space)

    await eventually(all_gone, seconds=40)
    assert await gone(cluster, "ConfigMap", space, "settings")
