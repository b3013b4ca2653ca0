"""The kubelet against a real API server, scheduler and controller manager."""

from __future__ import annotations

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.resource import JSON
from cortexops.ports.cluster import PatchType
from sandbox.cluster.kubelet.images import Images
from sandbox.cluster.kubelet.kubelet import Kubelet
from sandbox.cluster.kubelet.models import WorkloadModel
from tests.sandbox.support import SPEED, eventually, pods, rolled_out
from tests.support.controlplane import ControlPlane


def deployment(limit: str) -> JSON:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {
                    "containers": [
                        {
                            "name": "shop",
                            "image": "registry.example.com/shop:1",
                            "resources": {"limits": {"memory": limit}},
                            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 2},
                        }
                    ]
                },
            },
        },
    }


@pytest.mark.realcluster
async def test_pods_run_are_killed_heal_and_their_logs_can_be_read(control_plane: ControlPlane) -> None:
    model = WorkloadModel.model_validate(
        {
            "name": "shop",
            "image": "registry.example.com/shop:*",
            "memory": {"base": "100Mi", "growth_per_second": "0", "spike": {"amount": "60Mi", "after": 30}},
            "starting": ["shop is starting"],
        }
    )
    async with await KubernetesCluster.connect("real", control_plane.kubeconfig()) as cluster:
        kubelet = Kubelet(cluster, speed=SPEED, nodes=2, serve_logs=True)
        kubelet.declare([model], Images())
        await kubelet.start()
        try:
            await cluster.create("Deployment", "default", deployment("128Mi"))
            await eventually(lambda: rolled_out(cluster, "default", "shop"), 30)
            first = (await pods(cluster, "default", "shop"))[0]["metadata"]["name"]
            assert await cluster.logs("default", first) == "shop is starting\nINFO ready to serve\n"

            async def killed() -> list[str]:
                return [
                    pod["metadata"]["name"]
                    for pod in await pods(cluster, "default", "shop")
                    for one in pod["status"].get("containerStatuses") or ()
                    if (one["lastState"].get("terminated") or {}).get("reason") == "OOMKilled"
                ]

            dead = (await eventually(killed, 30))[0]
            assert "shop is starting" in await cluster.logs("default", dead, previous=True)
            container = {"name": "shop", "resources": {"limits": {"memory": "256Mi"}}}
            await cluster.patch(
                "Deployment",
                "default",
                "shop",
                {"spec": {"template": {"spec": {"containers": [container]}}}},
                patch_type=PatchType.STRATEGIC,
            )
            await eventually(lambda: rolled_out(cluster, "default", "shop"), 30)
        finally:
            await kubelet.stop()
