"""A Job that its deadline ended, in a namespace with more events than one page holds: its own are found by name."""

from __future__ import annotations

import uuid

import pytest

from activities.investigate import investigate
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.diagnosis import Category
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.signal import Signal
from sandbox.cluster.kinds import BY_KIND
from sandbox.cluster.server import SimulatedApiServer
from tests.investigation.objects import NOW, ago, event, template

JOB: JSON = {
    "kind": "Job",
    "apiVersion": "batch/v1",
    "metadata": {"name": "zip-archive", "namespace": "shop", "creationTimestamp": ago(hours=2)},
    "spec": {"activeDeadlineSeconds": 1800, "template": template("zip-archive")},
    "status": {
        "startTime": ago(hours=2),
        "conditions": [
            {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
        ],
    },
}
GONE: JSON = {"kind": "Pod", "metadata": {"name": "zip-archive-w8cjt", "namespace": "shop"}}


def put(server: SimulatedApiServer, obj: JSON) -> None:
    metadata = {"uid": str(uuid.uuid4()), "creationTimestamp": NOW.strftime("%Y-%m-%dT%H:%M:%SZ")}
    body = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
    body["metadata"] = metadata | obj["metadata"]
    space = body["metadata"].get("namespace", "")
    server.store.put(BY_KIND[obj["kind"]].key, space, body["metadata"]["name"], body)


@pytest.mark.parametrize("noise", [0, 520])
async def test_what_kept_a_removed_pod_from_running_is_found(tmp_path, noise: int) -> None:
    target = ResourceRef(cluster="test", kind="Job", namespace="shop", name="zip-archive")
    signal = Signal(
        source="test", cluster="test", name="KubeJobFailed", resource=target, started_at=NOW
    ).sealed()
    other = {"kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop"}}
    async with SimulatedApiServer() as server:
        put(server, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}})
        put(server, JOB)
        told = [
            event(JOB, "SuccessfulCreate", "Created pod: zip-archive-w8cjt", kind="Normal"),
            event(GONE, "Failed", 'Failed to pull image "x.dev/zip:9": manifest unknown'),
        ]
        quiet = [event(other, "Unhealthy", f"Readiness probe failed: {number}") for number in range(noise)]
        for number, made in enumerate((*quiet, *told)):
            made["metadata"]["name"] = f"e{number:04d}"  # lists are in the order of names
            put(server, {"kind": "Event", "apiVersion": "v1", **made})
        cluster = await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "admin"))
        try:
            _, diagnosis = await investigate(
                cluster, [signal], target=target, environment="production", now=NOW
            )
        finally:
            await cluster.close()
    assert diagnosis.cause is not None and diagnosis.cause.category is Category.IMAGE_NOT_FOUND
    assert diagnosis.cause.resource == target and "x.dev/zip:9" in diagnosis.cause.summary
