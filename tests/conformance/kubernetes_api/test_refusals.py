"""Validation, admission, quota, limit ranges and permissions: who says no, and in which words."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Forbidden, Rejected
from cortexops.ports.cluster import PatchType
from tests.conformance.kubernetes_api.conftest import Target, config, deployment, eventually, pod

RBAC = "/apis/rbac.authorization.k8s.io/v1"


async def refused(target: Target, path: str, body: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The causes of a 422: field -> (reason, message)."""
    code, status = await target.send("POST", path, body)
    assert (code, status["reason"]) == (422, "Invalid"), status
    assert status["status"] == "Failure"
    return {c["field"]: (c["reason"], c["message"]) for c in status["details"]["causes"]}


async def test_several_faults_are_all_named(target: Target, space: str):
    body = deployment(replicas=-1)
    body["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {
        "limits": {"memory": "1Gi"},
        "requests": {"memory": "2Gi"},
    }
    causes = await refused(target, f"/apis/apps/v1/namespaces/{space}/deployments", body)
    assert causes["spec.replicas"] == (
        "FieldValueInvalid",
        "Invalid value: -1: must be greater than or equal to 0",
    )
    assert causes["spec.template.metadata.labels"][1].endswith("`selector` does not match template `labels`")
    requests = causes["spec.template.spec.containers[0].resources.requests"]
    assert requests[1] == 'Invalid value: "2Gi": must be less than or equal to memory limit'


async def test_status_of_a_validation_error_names_the_object(target: Target, space: str):
    path = f"/apis/apps/v1/namespaces/{space}/deployments"
    _, status = await target.send("POST", path, deployment(replicas=-1))
    assert status["details"]["name"] == "api"
    assert (status["details"]["group"], status["details"]["kind"]) == ("apps", "Deployment")
    assert status["message"] == (
        'Deployment.apps "api" is invalid: spec.replicas: '
        "Invalid value: -1: must be greater than or equal to 0"
    )


async def test_required_fields_are_named(target: Target, space: str):
    body = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "", "image": ""}]}}
    causes = await refused(target, f"/api/v1/namespaces/{space}/pods", body)
    assert causes["spec.containers[0].name"][0] == "FieldValueRequired"
    assert causes["spec.containers[0].image"][0] == "FieldValueRequired"
    causes = await refused(target, f"/api/v1/namespaces/{space}/configmaps", {"metadata": {}})
    assert causes["metadata.name"][1] == "Required value: name or generateName is required"


async def test_selector_is_required(target: Target, space: str):
    body = deployment()
    body["spec"].pop("selector")
    causes = await refused(target, f"/apis/apps/v1/namespaces/{space}/deployments", body)
    assert causes["spec.selector"][0] == "FieldValueRequired"


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "x" * 254])
async def test_bad_names_are_refused(target: Target, space: str, name: str):
    causes = await refused(target, f"/api/v1/namespaces/{space}/configmaps", config(name))
    assert causes["metadata.name"][0] == "FieldValueInvalid"


async def test_bad_quantity_is_a_bad_request(cluster: KubernetesCluster, space: str):
    with pytest.raises(Rejected, match="quantities must match"):
        await cluster.create("Pod", space, pod(resources={"limits": {"memory": "1GB"}}))


async def test_selector_of_a_deployment_is_immutable(cluster: KubernetesCluster, space: str):
    await cluster.create("Deployment", space, deployment())
    labels = {"app": "api", "x": "y"}
    body = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
    with pytest.raises(Rejected, match="field is immutable"):
        await cluster.patch("Deployment", space, "api", body, patch_type=PatchType.MERGE)


async def test_pod_spec_is_fixed_but_for_the_image(cluster: KubernetesCluster, space: str):
    await cluster.create("Pod", space, pod())
    steps = [{"op": "replace", "path": "/spec/containers/0/image", "value": "registry.local/api:2"}]
    made = await cluster.patch("Pod", space, "one", steps)
    assert made["spec"]["containers"][0]["image"] == "registry.local/api:2"
    with pytest.raises(Rejected, match="pod updates may not change fields other than"):
        await cluster.patch("Pod", space, "one", {"spec": {"nodeName": "n"}}, patch_type=PatchType.MERGE)


async def test_immutable_config_map_stays(cluster: KubernetesCluster, space: str):
    await cluster.create("ConfigMap", space, config(a="1") | {"immutable": True})
    with pytest.raises(Rejected, match="field is immutable when `immutable` is set"):
        await cluster.patch("ConfigMap", space, "settings", {"data": {"a": "2"}}, patch_type=PatchType.MERGE)


async def test_recreate_with_rolling_parameters_is_refused(cluster: KubernetesCluster, space: str):
    await cluster.create("Deployment", space, deployment())
    body = {"spec": {"strategy": {"type": "Recreate"}}}
    with pytest.raises(Rejected, match="may not be specified when strategy `type` is 'Recreate'"):
        await cluster.patch("Deployment", space, "api", body, patch_type=PatchType.MERGE)


async def test_mount_of_an_unknown_volume_is_refused(cluster: KubernetesCluster, space: str):
    with pytest.raises(Rejected, match="Not found"):
        await cluster.create("Pod", space, pod(volumeMounts=[{"name": "no", "mountPath": "/x"}]))


# -- quota and limit ranges ----------------------------------------------------------------------------


async def with_quota(cluster: KubernetesCluster, space: str, hard: dict[str, str]) -> None:
    await cluster.create("ResourceQuota", space, {"metadata": {"name": "q"}, "spec": {"hard": hard}})

    async def counted() -> bool:
        quota = await cluster.get("ResourceQuota", space, "q")
        return bool((quota.get("status") or {}).get("used"))

    await eventually(counted)


async def test_quota_refuses_one_pod_too_many(cluster: KubernetesCluster, target: Target, space: str):
    await with_quota(cluster, space, {"pods": "1"})
    await cluster.create("Pod", space, pod("one"))
    with pytest.raises(Rejected):
        await cluster.create("Pod", space, pod("two"))
    code, status = await target.send("POST", f"/api/v1/namespaces/{space}/pods", pod("two"))
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        'pods "two" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'
    )


async def test_quota_on_memory_demands_limits(cluster: KubernetesCluster, space: str):
    await with_quota(cluster, space, {"limits.memory": "1Gi"})
    with pytest.raises(Rejected, match=r"failed quota: q: must specify limits\.memory"):
        await cluster.create("Pod", space, pod("one"))
    too_much = {"limits": {"memory": "2Gi"}}
    with pytest.raises(Rejected, match=r"exceeded quota: q, requested: limits\.memory=2Gi, used:"):
        await cluster.create("Pod", space, pod("one", resources=too_much))
    await cluster.create("Pod", space, pod("one", resources={"limits": {"memory": "512Mi"}}))


async def test_quota_counts_what_is_used(cluster: KubernetesCluster, space: str):
    await with_quota(cluster, space, {"pods": "5", "requests.cpu": "2"})
    await cluster.create("Pod", space, pod("one", resources={"requests": {"cpu": "250m"}}))

    async def used() -> bool:
        status = (await cluster.get("ResourceQuota", space, "q"))["status"]
        return bool(status["used"] == {"pods": "1", "requests.cpu": "250m"})

    await eventually(used)


async def test_limit_range_fills_in_and_refuses(cluster: KubernetesCluster, space: str):
    limit = {"type": "Container", "default": {"memory": "256Mi"}, "max": {"memory": "1Gi"}}
    await cluster.create("LimitRange", space, {"metadata": {"name": "l"}, "spec": {"limits": [limit]}})

    async def applied() -> Any:
        made = await cluster.create("Pod", space, pod("probe"), dry_run=True)
        return made["spec"]["containers"][0]["resources"].get("limits")

    assert await eventually(applied) == {"memory": "256Mi"}
    with pytest.raises(Rejected, match="maximum memory usage per Container is 1Gi, but limit is 2Gi"):
        await cluster.create("Pod", space, pod("big", resources={"limits": {"memory": "2Gi"}}))


# -- permissions ---------------------------------------------------------------------------------------


async def test_missing_permission_is_named(target: Target, space: str):
    nobody = await target.client("nobody")
    with pytest.raises(Forbidden) as caught:
        await nobody.list("Pod", space)
    assert (caught.value.verb, caught.value.resource, caught.value.namespace) == ("list", "pods", space)
    assert str(caught.value) == f"missing permission: list pods in namespace {space} (403)"
    with pytest.raises(Forbidden, match=rf"get pods/log in namespace {space}"):
        await nobody.logs(space, "one")
    with pytest.raises(Forbidden, match="patch deployments"):
        await nobody.patch("Deployment", space, "api", [])


async def test_wording_of_the_authorizer(target: Target, space: str):
    path = f"/api/v1/namespaces/{space}/pods"
    code, status = await target.send("GET", path, identity="nobody")
    assert (code, status["reason"], status["details"]) == (403, "Forbidden", {"kind": "pods"})
    assert status["message"] == (
        'pods is forbidden: User "nobody" cannot list resource "pods" in API group "" '
        f'in the namespace "{space}"'
    )
    _, status = await target.send("GET", "/apis/apps/v1/deployments", identity="nobody")
    assert status["message"] == (
        'deployments.apps is forbidden: User "nobody" cannot list resource "deployments" '
        'in API group "apps" at the cluster scope'
    )
    _, status = await target.send("GET", f"{path}/one/log", identity="nobody")
    assert status["message"] == (
        'pods "one" is forbidden: User "nobody" cannot get resource "pods/log" in API group "" '
        f'in the namespace "{space}"'
    )


async def test_without_a_token_one_is_anonymous(target: Target):
    code, status = await target.send("GET", "/api/v1/pods", token="")
    assert code == 403
    assert 'User "system:anonymous" cannot list resource "pods"' in status["message"]


async def test_wrong_token_is_401(target: Target):
    code, status = await target.send("GET", "/api/v1/pods", token="nonsense")
    assert (code, status["reason"], status["message"]) == (401, "Unauthorized", "Unauthorized")


async def test_role_binding_grants_in_one_namespace(target: Target, cluster: KubernetesCluster, space: str):
    role = {
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
    }
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}],
    }
    assert (await target.send("POST", f"{RBAC}/namespaces/{space}/roles", role))[0] == 201
    assert (await target.send("POST", f"{RBAC}/namespaces/{space}/rolebindings", binding))[0] == 201
    nobody = await target.client("nobody")

    async def allowed() -> bool:
        return await nobody.may("list", "Pod", space)

    await eventually(allowed)
    assert (await nobody.list("Pod", space)).items == []
    assert not await nobody.may("get", "Pod", space)
    assert not await nobody.may("list", "Pod", "default")
    assert not await nobody.may("get", "Pod", space, subresource="log")
    with pytest.raises(Forbidden):
        await nobody.list("Pod")


async def test_cluster_role_for_a_group(target: Target, space: str):
    name = f"logs-{secrets.token_hex(3)}"
    role = {
        "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}],
    }
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"},
        ],
    }
    assert (await target.send("POST", f"{RBAC}/clusterroles", role))[0] == 201
    assert (await target.send("POST", f"{RBAC}/clusterrolebindings", binding))[0] == 201
    nobody = await target.client("nobody")

    async def allowed() -> bool:
        return await nobody.may("get", "Pod", space, subresource="log")

    await eventually(allowed)
    assert not await nobody.may("get", "Pod", space)
    await target.send("DELETE", f"{RBAC}/clusterrolebindings/{name}")
    await target.send("DELETE", f"{RBAC}/clusterroles/{name}")


async def test_admin_may_everything(cluster: KubernetesCluster, space: str):
    assert await cluster.may("delete", "Deployment", space)
    assert await cluster.may("create", "Pod", space, subresource="eviction")
    assert await cluster.may("list", "Node")
