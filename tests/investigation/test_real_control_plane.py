"""Investigations of incidents that a real API server, scheduler and controller manager serve."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from activities.actions import propose
from activities.oneshot import investigate_payload
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.signal import Signal
from cortexops.ports.cluster import PatchType
from sandbox.cluster.kubelet.images import Images
from sandbox.cluster.kubelet.kubelet import Kubelet
from sandbox.cluster.kubelet.models import WorkloadModel
from tests.sandbox.support import SPEED, eventually, pods, rolled_out
from tests.support.controlplane import ControlPlane

MODEL = WorkloadModel.model_validate(
    {
        "name": "api",
        "image": "registry.example.com/api:*",
        "config": [{"env": "POOL_SIZE", "parses": "int"}],
        "starting": ["INFO api is starting"],
    }
)


def api() -> JSON:
    container = {
        "name": "api",
        "image": "registry.example.com/api:1",
        "envFrom": [{"configMapRef": {"name": "api-env"}}],
        "resources": {"limits": {"memory": "128Mi"}},
    }
    return {
        "metadata": {"name": "api", "namespace": "default"},
        "spec": {
            "replicas": 2,
            "progressDeadlineSeconds": 30,
            "selector": {"matchLabels": {"app": "api"}},
            "template": {"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [container]}},
        },
    }


def alert(name: str = "KubePodCrashLooping") -> Signal:
    ref = ResourceRef(cluster="real", kind="Deployment", namespace="default", name="api")
    return Signal(
        source="test", cluster="real", name=name, resource=ref, started_at=datetime.now(UTC)
    ).sealed()


async def waits_for(cluster: KubernetesCluster, *reasons: str) -> bool:
    found = await pods(cluster, "default", "api")
    waiting = {
        ((status.get("state") or {}).get("waiting") or {}).get("reason")
        for pod in found
        for status in pod["status"].get("containerStatuses") or ()
    }
    return bool(waiting & set(reasons))


@pytest.mark.realcluster
async def test_a_changed_value_and_then_a_wrong_image_are_found_on_a_real_control_plane(
    control_plane: ControlPlane,
) -> None:
    async with await KubernetesCluster.connect("real", control_plane.kubeconfig()) as cluster:
        kubelet = Kubelet(cluster, speed=SPEED, nodes=2, serve_logs=True)
        kubelet.declare([MODEL], Images(missing=("*:nope",)))
        await kubelet.start()
        try:
            body = {"metadata": {"name": "api-env", "namespace": "default"}, "data": {"POOL_SIZE": "10"}}
            await cluster.create("ConfigMap", "default", body)
            await cluster.create("Deployment", "default", api())
            await eventually(lambda: rolled_out(cluster, "default", "api"), 30)
            await cluster.patch(
                "ConfigMap", "default", "api-env", {"data": {"POOL_SIZE": "ten"}}, patch_type=PatchType.MERGE
            )
            for pod in await pods(cluster, "default", "api"):
                await cluster.delete("Pod", "default", pod["metadata"]["name"])
            await eventually(lambda: waits_for(cluster, "CrashLoopBackOff"), 30)
            report = await investigate_payload(cluster, [alert()], datetime.now(UTC), propose)
            cause = report["incidents"][0]["root_cause"]
            assert (cause["resource"]["name"], cause["category"]) == ("api-env", "configmap_changed")
            assert report["api_requests"] <= 25

            await cluster.patch(
                "ConfigMap", "default", "api-env", {"data": {"POOL_SIZE": "10"}}, patch_type=PatchType.MERGE
            )
            await eventually(lambda: rolled_out(cluster, "default", "api"), 60)
            image = {"name": "api", "image": "registry.example.com/api:nope"}
            template = {"spec": {"template": {"spec": {"containers": [image]}}}}
            await cluster.patch("Deployment", "default", "api", template, patch_type=PatchType.STRATEGIC)
            await eventually(lambda: waits_for(cluster, "ErrImagePull", "ImagePullBackOff"), 30)
            report = await investigate_payload(
                cluster, [alert("KubeDeploymentRolloutStuck")], datetime.now(UTC), propose
            )
            incident = report["incidents"][0]
            assert incident["root_cause"]["category"] == "image_not_found"
            assert incident["recommended_actions"][0]["type"] == "rollback_rollout"
        finally:
            await kubelet.stop()
