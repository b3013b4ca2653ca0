"""Create, read, replace: names, versions, generations, defaults, dry runs."""

from __future__ import annotations

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict, InvalidInput, NotFound, Rejected
from cortexops.ports.cluster import PatchType
from tests.conformance.kubernetes_api.conftest import Target, config, deployment, pod


async def test_created_object_gets_uid_version_and_time(cluster: KubernetesCluster, space: str):
    made = await cluster.create("ConfigMap", space, config(a="1"))
    assert made["metadata"]["uid"]
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert (made["kind"], made["apiVersion"]) == ("ConfigMap", "v1")
    assert await cluster.get("ConfigMap", space, "settings") == made


async def test_generate_name_appends_five_characters(cluster: KubernetesCluster, space: str):
    made = await cluster.create("ConfigMap", space, {"metadata": {"generateName": "conf-"}})
    assert made["metadata"]["name"].startswith("conf-")
    assert len(made["metadata"]["name"]) == len("conf-") + 5


async def test_second_creation_is_already_exists(cluster: KubernetesCluster, target: Target, space: str):
    await cluster.create("ConfigMap", space, config())
    with pytest.raises(Conflict, match="already exists"):
        await cluster.create("ConfigMap", space, config())
    code, status = await target.send("POST", f"/api/v1/namespaces/{space}/configmaps", config())
    assert (code, status["reason"]) == (409, "AlreadyExists")
    assert status["details"] == {"name": "settings", "kind": "configmaps"}


async def test_missing_object_is_named_in_the_404(cluster: KubernetesCluster, target: Target, space: str):
    with pytest.raises(NotFound):
        await cluster.get("Deployment", space, "api")
    code, status = await target.send("GET", f"/apis/apps/v1/namespaces/{space}/deployments/api")
    assert (code, status["reason"]) == (404, "NotFound")
    assert status["message"] == 'deployments.apps "api" not found'
    assert status["details"] == {"name": "api", "group": "apps", "kind": "deployments"}


async def test_unknown_resource_is_a_nameless_404(target: Target, space: str):
    code, status = await target.send("GET", f"/apis/apps/v1/namespaces/{space}/gadgets")
    assert (code, status["reason"]) == (404, "NotFound")
    assert status["message"] == "the server could not find the requested resource"


async def test_creation_in_missing_namespace_is_404(target: Target):
    code, status = await target.send("POST", "/api/v1/namespaces/not-there/configmaps", config())
    assert (code, status["message"]) == (404, 'namespaces "not-there" not found')


async def test_namespace_of_body_must_match_path(target: Target, space: str):
    body = {"metadata": {"name": "x", "namespace": "other"}}
    code, status = await target.send("POST", f"/api/v1/namespaces/{space}/configmaps", body)
    assert (code, status["reason"]) == (400, "BadRequest")
    assert "does not match the namespace sent on the request" in status["message"]


async def test_name_of_body_must_match_path(target: Target, cluster: KubernetesCluster, space: str):
    await cluster.create("ConfigMap", space, config("x"))
    path = f"/api/v1/namespaces/{space}/configmaps/x"
    code, status = await target.send("PUT", path, {"metadata": {"name": "y"}})
    assert code == 400
    assert status["message"] == "the name of the object (y) does not match the name on the URL (x)"


async def test_wrong_kind_is_a_bad_request(target: Target, space: str):
    body = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}
    code, status = await target.send("POST", f"/api/v1/namespaces/{space}/configmaps", body)
    assert (code, status["reason"]) == (400, "BadRequest")
    assert "cannot be handled as a ConfigMap" in status["message"]


async def test_wrong_type_is_a_bad_request(target: Target, space: str):
    code, status = await target.send(
        "POST", f"/apis/apps/v1/namespaces/{space}/deployments", deployment(replicas="two")
    )
    assert (code, status["reason"]) == (400, "BadRequest")
    assert 'Deployment in version "v1" cannot be handled as a Deployment' in status["message"]


async def test_dry_run_create_answers_but_stores_nothing(cluster: KubernetesCluster, space: str):
    made = await cluster.create("Deployment", space, deployment(), dry_run=True)
    assert made["metadata"]["uid"]
    assert made["spec"]["revisionHistoryLimit"] == 10
    with pytest.raises(NotFound):
        await cluster.get("Deployment", space, "api")


async def test_dry_run_delete_deletes_nothing(cluster: KubernetesCluster, space: str):
    await cluster.create("ConfigMap", space, config())
    await cluster.delete("ConfigMap", space, "settings", dry_run=True)
    assert await cluster.get("ConfigMap", space, "settings")


async def test_body_of_a_deletion_silences_its_query(cluster: KubernetesCluster, target: Target, space: str):
    await cluster.create("ConfigMap", space, config())
    path = f"/api/v1/namespaces/{space}/configmaps/settings?dryRun=All"
    assert (await target.send("DELETE", path))[0] == 200
    assert await cluster.get("ConfigMap", space, "settings")
    assert (await target.send("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1"}))[0] == 200
    with pytest.raises(NotFound):
        await cluster.get("ConfigMap", space, "settings")


async def test_dry_run_still_validates(cluster: KubernetesCluster, space: str):
    with pytest.raises(Rejected, match="replicas"):
        await cluster.create("Deployment", space, deployment(replicas=-1), dry_run=True)


async def test_replace_with_stale_version_is_a_conflict(
    cluster: KubernetesCluster, target: Target, space: str
):
    made = await cluster.create("ConfigMap", space, config(a="1"))
    await cluster.patch("ConfigMap", space, "settings", {"data": {"a": "2"}}, patch_type=PatchType.MERGE)
    with pytest.raises(Conflict, match="has been modified"):
        await cluster.replace("ConfigMap", space, "settings", made)
    code, status = await target.send("PUT", f"/api/v1/namespaces/{space}/configmaps/settings", made)
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["message"].startswith('Operation cannot be fulfilled on configmaps "settings": the object')


async def test_replace_without_version_overwrites(cluster: KubernetesCluster, space: str):
    await cluster.create("ConfigMap", space, config(a="1"))
    await cluster.replace("ConfigMap", space, "settings", config(b="2"))
    assert (await cluster.get("ConfigMap", space, "settings"))["data"] == {"b": "2"}


async def test_replace_of_missing_object_is_404(cluster: KubernetesCluster, space: str):
    with pytest.raises(NotFound):
        await cluster.replace("ConfigMap", space, "settings", config())


async def test_identity_of_an_object_cannot_be_replaced(cluster: KubernetesCluster, space: str):
    made = await cluster.create("ConfigMap", space, config())
    body = config() | {"metadata": {"name": "settings", "uid": "11111111-1111-1111-1111-111111111111"}}
    with pytest.raises(Conflict, match="UID in precondition"):
        await cluster.replace("ConfigMap", space, "settings", body)
    assert (await cluster.get("ConfigMap", space, "settings"))["metadata"]["uid"] == made["metadata"]["uid"]


async def test_generation_counts_changes_of_spec_only(cluster: KubernetesCluster, space: str):
    made = await cluster.create("Deployment", space, deployment())
    assert made["metadata"]["generation"] == 1

    async def patched(body: dict[str, object]) -> int:
        answer = await cluster.patch("Deployment", space, "api", body, patch_type=PatchType.MERGE)
        return int(answer["metadata"]["generation"])

    assert await patched({"metadata": {"labels": {"team": "a"}}}) == 1
    assert await patched({"spec": {"minReadySeconds": 3}}) == 2
    assert await patched({"spec": {"minReadySeconds": 3}}) == 2


async def test_change_that_changes_nothing_keeps_the_version(cluster: KubernetesCluster, space: str):
    made = await cluster.create("ConfigMap", space, config(a="1"))
    same = await cluster.patch(
        "ConfigMap", space, "settings", {"data": {"a": "1"}}, patch_type=PatchType.MERGE
    )
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_deployment_is_filled_in(cluster: KubernetesCluster, space: str):
    body = deployment()
    body["spec"].pop("replicas")
    body["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"port": 8080}}
    spec = (await cluster.create("Deployment", space, body, dry_run=True))["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    template = spec["template"]["spec"]
    assert template["restartPolicy"] == "Always"
    assert template["terminationGracePeriodSeconds"] == 30
    assert template["dnsPolicy"] == "ClusterFirst"
    assert template["schedulerName"] == "default-scheduler"
    assert template["securityContext"] == {}
    (container,) = template["containers"]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["terminationMessagePolicy"] == "File"
    assert container["resources"] == {}
    assert container["ports"] == [{"containerPort": 8080, "protocol": "TCP"}]
    assert container["readinessProbe"] == {
        "httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


async def test_image_without_tag_is_always_pulled(cluster: KubernetesCluster, space: str):
    made = await cluster.create("Pod", space, pod(image="registry.local:5000/api"), dry_run=True)
    assert made["spec"]["containers"][0]["imagePullPolicy"] == "Always"


async def test_stateful_and_daemon_sets_are_filled_in(cluster: KubernetesCluster, space: str):
    stateful = deployment() | {"metadata": {"name": "db"}}
    stateful["spec"]["serviceName"] = "db"
    spec = (await cluster.create("StatefulSet", space, stateful, dry_run=True))["spec"]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    daemon = deployment() | {"metadata": {"name": "agent"}}
    daemon["spec"].pop("replicas")
    spec = (await cluster.create("DaemonSet", space, daemon, dry_run=True))["spec"]
    assert spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 1
    assert spec["revisionHistoryLimit"] == 10


async def test_service_gets_an_address_and_target_ports(cluster: KubernetesCluster, space: str):
    body = {"metadata": {"name": "api"}, "spec": {"selector": {"app": "api"}, "ports": [{"port": 80}]}}
    spec = (await cluster.create("Service", space, body))["spec"]
    assert spec["clusterIP"].startswith("10.96.")
    assert spec["ports"] == [{"protocol": "TCP", "port": 80, "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"]) == ("ClusterIP", "None")


async def test_pod_starts_pending_with_requests_from_limits(cluster: KubernetesCluster, space: str):
    resources = {"limits": {"cpu": "1000m", "memory": "1024Mi"}}
    made = await cluster.create("Pod", space, pod(resources=resources))
    assert made["status"]["phase"] == "Pending"
    assert made["status"]["qosClass"] == "Guaranteed"
    amounts = {"cpu": "1", "memory": "1Gi"}
    assert made["spec"]["containers"][0]["resources"] == {"limits": amounts, "requests": amounts}


async def test_secret_text_becomes_base64(cluster: KubernetesCluster, space: str):
    made = await cluster.create("Secret", space, {"metadata": {"name": "s"}, "stringData": {"a": "b"}})
    assert (made["type"], made["data"]) == ("Opaque", {"a": "Yg=="})
    assert "stringData" not in made


async def test_writer_is_recorded_in_managed_fields(cluster: KubernetesCluster, space: str):
    made = await cluster.create("ConfigMap", space, config(a="1"))
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("cortexops", "Update", "v1")
    assert entry["fieldsV1"]["f:data"] == {".": {}, "f:a": {}}


async def test_unknown_kind_is_refused_before_anything_is_sent(cluster: KubernetesCluster):
    before = cluster.requests
    with pytest.raises(InvalidInput):
        await cluster.get("Gadget", "default", "x")
    assert cluster.requests == before


ADD_ONS = {"PodMetrics", "HTTPRoute", "Gateway", "APIService", "Certificate"}
"""Kinds, beside those that add-ons bring, that a control plane alone does not serve."""


async def test_every_known_kind_can_be_listed(cluster: KubernetesCluster):
    from cortexops.domain.resource import KINDS

    for kind in {name for name, served in KINDS.items() if not served.brought} - ADD_ONS:
        found = await cluster.list(kind)
        assert found.resource_version
        assert all(item["kind"] == kind for item in found.items)
