"""One-shot investigation of a payload of alerts: several incidents where there are several causes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from activities.collectors._backend import backends
from activities.gathering import Gathering, Reads
from activities.investigate import candidates_for, investigate
from activities.resolve import resolve
from cortexops.domain.action import Candidate
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.report import Result, investigation_report
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import Signal
from cortexops.ports.cluster import ReadableCluster

_AT_ONCE = 4
_RESOLVE_SECONDS = 30.0
_OWN_QUESTION = (
    "Service", "Ingress", "HorizontalPodAutoscaler", "PersistentVolumeClaim", "PodDisruptionBudget",
    "ConfigMap", "Secret",
)  # fmt: skip
"""An alert about one of these asks about the object itself, too: no workload behind it replaces it."""


async def investigate_payload(
    cluster: ReadableCluster,
    signals: Sequence[Signal],
    now: datetime,
    propose: Callable[[Scene, Diagnosis], list[Candidate]],
    *,
    environment: str = "",
    budget_seconds: float = 180,
    prometheus: str | None = None,
    loki: str | None = None,
) -> dict[str, Any]:
    """The report (`cortexops.investigation/v1`) on these signals.

    Signals about one workload or node are investigated once; equal causes become one incident. A target
    that does not exist is reported with the verdict `unknown`. `prometheus` and `loki` are base addresses of
    further telemetry; raises `InvalidInput` for one that is no address.
    """
    began, before = time.perf_counter(), cluster.requests
    reads = Reads(cluster, backends(prometheus=prometheus, loki=loki))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(target: ResourceRef, members: list[Signal]) -> Result:
        async with gate:
            scene, diagnosis = await investigate(
                cluster,
                members,
                target=target,
                environment=environment,
                now=now,
                budget_seconds=budget_seconds,
                reads=reads,
            )
        return Result(target, tuple(members), diagnosis, tuple(candidates_for(propose, scene, diagnosis)))

    try:
        groups = await _grouped(reads, signals, gate)
        results = await asyncio.gather(*(one(target, members) for target, members in groups.items()))
    finally:
        await reads.close()
    return investigation_report(
        results,
        duration_seconds=time.perf_counter() - began,
        api_requests=cluster.requests - before,
    )


async def _grouped(
    reads: Reads, signals: Sequence[Signal], gate: asyncio.Semaphore
) -> dict[ResourceRef, list[Signal]]:
    """Signals by the workload or node that they are about; what cannot be resolved stands for itself."""
    named = list(dict.fromkeys(signal.resource for signal in signals))

    async def root(ref: ResourceRef) -> ResourceRef:
        gathering = Gathering(reads, ref)
        async with gate:
            try:
                async with asyncio.timeout(_RESOLVE_SECONDS):
                    found = await resolve(gathering)
            except TimeoutError:
                return ref
        return found[0] if found and ref.kind not in _OWN_QUESTION else ref

    resolved = dict(zip(named, await asyncio.gather(*(root(ref) for ref in named)), strict=True))
    groups: dict[ResourceRef, list[Signal]] = {}
    for signal in signals:
        groups.setdefault(resolved[signal.resource], []).append(signal)
    return groups
