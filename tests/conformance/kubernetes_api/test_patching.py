"""JSON patch, merge patch and strategic merge patch."""

from __future__ import annotations

from typing import Any

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict, Rejected
from cortexops.ports.cluster import PatchType
from tests.conformance.kubernetes_api.conftest import Target, config, deployment

CONTAINER = "/spec/template/spec/containers/0"


@pytest.fixture
async def api(cluster: KubernetesCluster, space: str) -> str:
    body = deployment()
    body["spec"]["template"]["spec"]["tolerations"] = [{"key": "a", "operator": "Exists"}]
    body["spec"]["template"]["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    body["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    await cluster.create("Deployment", space, body)
    return space


async def strategic(cluster: KubernetesCluster, space: str, template: dict[str, Any]) -> dict[str, Any]:
    body = {"spec": {"template": {"spec": template}}}
    made = await cluster.patch("Deployment", space, "api", body, patch_type=PatchType.STRATEGIC)
    spec: dict[str, Any] = made["spec"]["template"]["spec"]
    return spec


async def test_json_patch_with_a_holding_test_applies(cluster: KubernetesCluster, api: str):
    steps = [
        {"op": "test", "path": f"{CONTAINER}/image", "value": "registry.local/api:1.0"},
        {"op": "replace", "path": f"{CONTAINER}/image", "value": "registry.local/api:1.1"},
    ]
    made = await cluster.patch("Deployment", api, "api", steps)
    assert made["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.local/api:1.1"
    assert made["metadata"]["generation"] == 2


@pytest.mark.parametrize("holder", ["ConfigMap", "Deployment"])
async def test_a_test_holds_whatever_characters_the_value_has(
    cluster: KubernetesCluster, space: str, holder: str
):
    """Programs' own commands are full of them: `sh -c "a && b > c"`."""
    text = 'a && b <c> "d" \\ é 日本 \U0001f600 \u2028\u2029 \t\n/ \x7f'
    body: dict[str, Any] = config(key=text) if holder == "ConfigMap" else deployment()
    path, name = "/data/key", "settings"
    if holder == "Deployment":
        body["spec"]["template"]["spec"]["containers"][0]["args"] = ["-c", text]
        path, name = f"{CONTAINER}/args", "api"
    await cluster.create(holder, space, body)
    found = await cluster.get(holder, space, name)
    value = (
        found["data"]["key"]
        if holder == "ConfigMap"
        else found["spec"]["template"]["spec"]["containers"][0]["args"]
    )
    whole = (
        []
        if holder == "ConfigMap"
        else [{"op": "test", "path": "/spec/template", "value": found["spec"]["template"]}]
    )
    after = "x & y" if holder == "ConfigMap" else ["x & y"]
    steps = [
        *whole,
        {"op": "test", "path": path, "value": value},
        {"op": "replace", "path": path, "value": after},
    ]
    made = await cluster.patch(holder, space, name, steps)
    assert "x & y" in str(made["data"] if holder == "ConfigMap" else made["spec"])


async def test_json_patch_with_a_failing_test_changes_nothing(
    cluster: KubernetesCluster, target: Target, api: str
):
    steps = [
        {"op": "test", "path": f"{CONTAINER}/image", "value": "something else"},
        {"op": "replace", "path": f"{CONTAINER}/image", "value": "registry.local/api:9"},
    ]
    with pytest.raises(Conflict):
        await cluster.patch("Deployment", api, "api", steps)
    found = await cluster.get("Deployment", api, "api")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.local/api:1.0"
    path = f"/apis/apps/v1/namespaces/{api}/deployments/api"
    code, status = await target.send("PATCH", path, steps, content_type="application/json-patch+json")
    assert (code, status["reason"]) == (422, "Invalid")
    assert not status.get("details")


async def test_json_patch_of_the_version_is_a_precondition(cluster: KubernetesCluster, api: str):
    stale = [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}]
    with pytest.raises(Conflict):
        await cluster.patch("Deployment", api, "api", stale)
    written: list[dict[str, Any]] = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "1"},
        {"op": "replace", "path": "/spec/replicas", "value": 0},
    ]
    with pytest.raises(Conflict):
        await cluster.patch("Deployment", api, "api", written)


async def test_json_patch_of_a_missing_path_is_rejected(cluster: KubernetesCluster, api: str):
    with pytest.raises(Rejected):
        await cluster.patch("Deployment", api, "api", [{"op": "remove", "path": "/spec/nothing"}])


async def test_json_patch_adds_and_removes_list_items(cluster: KubernetesCluster, api: str):
    steps: list[dict[str, Any]] = [
        {"op": "add", "path": f"{CONTAINER}/env/-", "value": {"name": "C", "value": "3"}},
        {"op": "remove", "path": f"{CONTAINER}/env/0"},
    ]
    made = await cluster.patch("Deployment", api, "api", steps)
    env = made["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]


async def test_json_patch_cannot_rename(cluster: KubernetesCluster, api: str):
    with pytest.raises(Rejected, match="does not match the name on the URL"):
        await cluster.patch(
            "Deployment", api, "api", [{"op": "replace", "path": "/metadata/name", "value": "x"}]
        )


async def test_dry_run_patch_shows_the_result_and_keeps_the_object(cluster: KubernetesCluster, api: str):
    before = await cluster.get("Deployment", api, "api")
    steps = [{"op": "replace", "path": "/spec/progressDeadlineSeconds", "value": 700}]
    shown = await cluster.patch("Deployment", api, "api", steps, dry_run=True)
    assert shown["spec"]["progressDeadlineSeconds"] == 700
    after = await cluster.get("Deployment", api, "api")
    # the deployment controller of a real cluster may write a status meanwhile
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


async def test_merge_patch_removes_by_null_and_replaces_lists(cluster: KubernetesCluster, space: str):
    await cluster.create("ConfigMap", space, config(a="1", b="2"))
    made = await cluster.patch(
        "ConfigMap", space, "settings", {"data": {"a": None, "c": "3"}}, patch_type=PatchType.MERGE
    )
    assert made["data"] == {"b": "2", "c": "3"}
    await cluster.create("Deployment", space, deployment())
    body = {"spec": {"template": {"spec": {"containers": [{"name": "other", "image": "x:1"}]}}}}
    made = await cluster.patch("Deployment", space, "api", body, patch_type=PatchType.MERGE)
    assert [c["name"] for c in made["spec"]["template"]["spec"]["containers"]] == ["other"]


async def test_strategic_patch_merges_containers_by_name(cluster: KubernetesCluster, api: str):
    change = [{"name": "main", "image": "registry.local/api:2.0"}, {"name": "sidecar", "image": "proxy:1"}]
    spec = await strategic(cluster, api, {"containers": change})
    by_name = {c["name"]: c for c in spec["containers"]}
    assert by_name["main"]["image"] == "registry.local/api:2.0"
    assert len(by_name["main"]["env"]) == 2
    assert by_name["sidecar"]["image"] == "proxy:1"


async def test_strategic_patch_merges_env_by_name(cluster: KubernetesCluster, api: str):
    change = [{"name": "main", "env": [{"name": "B", "value": "9"}, {"name": "C", "value": "3"}]}]
    spec = await strategic(cluster, api, {"containers": change})
    env = {item["name"]: item["value"] for item in spec["containers"][0]["env"]}
    assert env == {"A": "1", "B": "9", "C": "3"}


async def test_strategic_patch_deletes_by_directive(cluster: KubernetesCluster, api: str):
    change = [{"name": "main", "env": [{"name": "A", "$patch": "delete"}]}]
    spec = await strategic(cluster, api, {"containers": change})
    assert spec["containers"][0]["env"] == [{"name": "B", "value": "2"}]


async def test_strategic_patch_replaces_tolerations(cluster: KubernetesCluster, api: str):
    spec = await strategic(cluster, api, {"tolerations": [{"key": "b", "operator": "Exists"}]})
    assert spec["tolerations"] == [{"key": "b", "operator": "Exists"}]


async def test_strategic_patch_merges_ports_volumes_and_mounts(cluster: KubernetesCluster, api: str):
    change = {
        "volumes": [{"name": "conf", "configMap": {"name": "settings"}}],
        "containers": [
            {
                "name": "main",
                "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9090}],
                "volumeMounts": [{"name": "conf", "mountPath": "/etc/conf"}],
            }
        ],
    }
    spec = await strategic(cluster, api, change)
    (container,) = spec["containers"]
    assert {port["containerPort"]: port.get("name") for port in container["ports"]} == {
        8080: "http",
        9090: None,
    }
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/etc/conf"}
    assert {volume["name"] for volume in spec["volumes"]} == {"tmp", "conf"}


async def test_strategic_patch_replaces_command(cluster: KubernetesCluster, api: str):
    await strategic(cluster, api, {"containers": [{"name": "main", "command": ["a", "b"]}]})
    spec = await strategic(cluster, api, {"containers": [{"name": "main", "command": ["c"]}]})
    assert spec["containers"][0]["command"] == ["c"]


async def test_strategic_patch_may_replace_a_whole_list(cluster: KubernetesCluster, api: str):
    change = [{"name": "main", "env": [{"$patch": "replace"}, {"name": "Z", "value": "0"}]}]
    spec = await strategic(cluster, api, {"containers": change})
    assert spec["containers"][0]["env"] == [{"name": "Z", "value": "0"}]


async def test_strategic_patch_can_change_the_strategy(cluster: KubernetesCluster, api: str):
    body = {"spec": {"strategy": {"type": "Recreate", "$retainKeys": ["type"]}}}
    made = await cluster.patch("Deployment", api, "api", body, patch_type=PatchType.STRATEGIC)
    assert made["spec"]["strategy"] == {"type": "Recreate"}


async def test_labels_and_annotations_are_merged(cluster: KubernetesCluster, api: str):
    body = {"metadata": {"annotations": {"note": "x"}, "labels": {"team": "a"}}}
    made = await cluster.patch("Deployment", api, "api", body, patch_type=PatchType.STRATEGIC)
    assert made["metadata"]["labels"] == {"app": "api", "team": "a"}
    assert made["metadata"]["annotations"]["note"] == "x"


async def test_unknown_patch_type_is_415(target: Target, api: str):
    path = f"/apis/apps/v1/namespaces/{api}/deployments/api"
    code, status = await target.send("PATCH", path, {}, content_type="application/json")
    assert (code, status["reason"]) == (415, "UnsupportedMediaType")
