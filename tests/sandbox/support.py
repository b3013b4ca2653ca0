"""Questions that the sandbox's tests ask of a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from cortexops.domain.resource import JSON
from cortexops.ports.cluster import ReadableCluster

SPEED = 20.0


async def eventually(holds: Callable[[], Awaitable[Any]], seconds: float = 15.0) -> Any:
    """The first true answer; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await holds()
        if answer:
            return answer
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.1)


async def pods(cluster: ReadableCluster, namespace: str, app: str) -> list[JSON]:
    """The pods of an app that are not on their way out."""
    listing = await cluster.list("Pod", namespace, labels=f"app={app}")
    return [pod for pod in listing.items if not pod["metadata"].get("deletionTimestamp")]


async def events(cluster: ReadableCluster, namespace: str, reason: str) -> list[str]:
    """The messages of the events of that reason."""
    listing = await cluster.list("Event", namespace)
    return [event["message"] for event in listing.items if event["reason"] == reason]


async def rolled_out(cluster: ReadableCluster, namespace: str, name: str) -> bool:
    """Whether every pod is of the newest revision and available, as `kubectl rollout status` asks."""
    found = await cluster.get("Deployment", namespace, name)
    status, wanted = found.get("status") or {}, found["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


def restarts(found: list[JSON]) -> int:
    """Restarts over all pods."""
    return sum(one["restartCount"] for pod in found for one in (pod["status"].get("containerStatuses") or ()))


async def template_of(cluster: ReadableCluster, namespace: str, name: str, revision: int) -> JSON:
    """The pod template of a past revision, as an undo puts it back."""
    for one in (await cluster.list("ReplicaSet", namespace)).items:
        owned = one["metadata"]["ownerReferences"][0]["name"] == name
        if owned and one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == str(revision):
            template: JSON = one["spec"]["template"]
            template["metadata"]["labels"].pop("pod-template-hash")
            return template
    raise AssertionError(f"no revision {revision} of {name}")
