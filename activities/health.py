"""Measuring health through the API server, round after round until there is a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cortexops.domain.errors import CortexError, NotFound
from cortexops.domain.health import measure_node, measure_workload
from cortexops.domain.resource import ResourceRef
from cortexops.domain.verification import Limits, Measurement, Phase, Verification, assess
from cortexops.domain.workload import WORKLOADS
from cortexops.ports.cluster import ReadableCluster


def utc_now() -> datetime:
    return datetime.now(UTC)


async def measure(
    cluster: ReadableCluster, subject: ResourceRef, *, since: datetime, least_replicas: int = 0
) -> list[Measurement]:
    """One round. What cannot be measured is an Error, never a silence."""
    try:
        live = await cluster.get(subject.kind, subject.namespace, subject.name)
        if subject.kind == "Node":
            return measure_node(live, now=utc_now())
        labels = (live["spec"].get("selector") or {}).get("matchLabels") or {}
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        pods = await cluster.list("Pod", subject.namespace, labels=selector)
        return measure_workload(live, pods.items, since=since, now=utc_now(), least_replicas=least_replicas)
    except NotFound:
        return [_bad(subject, Phase.FAILED, "the object is gone")]
    except CortexError as error:
        return [_bad(subject, Phase.ERROR, str(error))]


def _bad(subject: ResourceRef, phase: Phase, detail: str) -> Measurement:
    return Measurement(check=str(subject), phase=phase, detail=detail, at=utc_now())


def subjects(*refs: ResourceRef) -> list[ResourceRef]:
    """Those of the objects whose health can be measured, each once."""
    return [ref for ref in dict.fromkeys(refs) if ref.kind in (*WORKLOADS, "Node")]


async def watch_health(
    cluster: ReadableCluster,
    watched: Sequence[ResourceRef],
    limits: Limits,
    *,
    since: datetime,
    least_replicas: int = 0,
    criteria: Sequence[str] = (),
    clock: Callable[[], datetime] = utc_now,
) -> Verification:
    """Measure all subjects until `assess` has a verdict. When criteria are named, only those count."""
    started = clock()
    rounds: list[list[Measurement]] = []
    while True:
        found = await asyncio.gather(
            *(measure(cluster, ref, since=since, least_replicas=least_replicas) for ref in watched)
        )
        known = {"rollout_complete", "replicas_ready", "no_new_restarts", "node_unschedulable"}
        rounds.append(
            [m for part in found for m in part if not criteria or m.check in criteria or m.check not in known]
        )
        verdict = assess(rounds, limits, started=started, now=clock())
        if verdict.phase is not Phase.RUNNING:
            return verdict
        await asyncio.sleep(limits.interval)
