"""One-shot investigation of a payload of alerts: several incidents where there are several causes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from activities.collectors._backend import backends
from activities.gathering import Gathering, Reads
from activities.investigate import alternatives_for, candidates_for, investigate
from activities.reasoned import Assistant, Material, with_model
from activities.resolve import resolve
from activities.runbooks import Runbooks
from cortexops.domain.action import Candidate
from cortexops.domain.around import around
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.outgoing import Destination, outgoing_texts
from cortexops.domain.reasoning_material import material
from cortexops.domain.report import Result, group, investigation_report
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import Signal
from cortexops.metrics import count_masked
from cortexops.ports.cluster import ReadableCluster

_AT_ONCE = 4
_RESOLVE_SECONDS = 30.0
_OWN_QUESTION = (
    "Service", "Ingress", "HTTPRoute", "Gateway", "HorizontalPodAutoscaler", "PersistentVolumeClaim",
    "PodDisruptionBudget", "ConfigMap", "Secret",
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
    runbooks: Runbooks | None = None,
    assistant: Assistant | None = None,
) -> dict[str, Any]:
    """The report (`cortexops.investigation/v1`) on these signals.

    Signals about one workload or node are investigated once; equal causes become one incident. A target
    that does not exist is reported with the verdict `unknown`. `prometheus` and `loki` are base addresses of
    further telemetry; raises `InvalidInput` for one that is no address. `runbooks` are consulted when given; so is
    a model (`assistant`), once for each incident.
    """
    began, before = time.perf_counter(), cluster.requests
    reads = Reads(cluster, backends(prometheus=prometheus, loki=loki))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(target: ResourceRef, members: list[Signal]) -> Result:
        start = time.perf_counter()
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
            candidates = candidates_for(propose, scene, diagnosis)
            if runbooks is not None:
                left = budget_seconds - (time.perf_counter() - start)
                diagnosis, candidates = await runbooks.consult(
                    reads, scene, diagnosis, candidates, seconds_left=left
                )
            if assistant is not None:
                others = alternatives_for(propose, scene, diagnosis)
                materials[target] = Material(material(scene, diagnosis), others)
        said = tuple(clean(member) for member in members)
        return Result(target, said, diagnosis, tuple(candidates), around(scene, diagnosis))

    def clean(signal: Signal) -> Signal:
        """Without the secrets that were read: an alert may quote one, and a model is shown the alert."""
        words = {"summary": signal.summary, "labels": signal.labels}
        return signal.model_copy(
            update=outgoing_texts(words, Destination.REPORT, count=count_masked, known=reads.secrets)
        )

    async def reasoned(found: Sequence[Result]) -> list[Result]:
        """The surest of each group with the model's part: the others tell of the same cause."""
        assert assistant is not None
        first, *rest = found
        async with gate:
            return [await with_model(assistant, reads, first, materials[first.subject]), *rest]

    materials: dict[ResourceRef, Material] = {}
    try:
        groups = await _grouped(reads, signals, gate)
        results = await asyncio.gather(*(one(target, members) for target, members in groups.items()))
        if assistant is not None:
            told = await asyncio.gather(*(reasoned(members) for members in group(results)))
            results = [result for members in told for result in members]
    finally:
        await reads.close()
    report = investigation_report(
        results,
        duration_seconds=time.perf_counter() - began,
        api_requests=cluster.requests - before,
    )
    checked: dict[str, Any] = outgoing_texts(
        report, Destination.REPORT, count=count_masked, known=reads.secrets
    )
    return checked


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
