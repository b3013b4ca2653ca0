"""Measuring health through the API server, round after round until there is a verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from activities.errors import told
from cortexops.domain.change import Change
from cortexops.domain.errors import CortexError, NotFound
from cortexops.domain.health import (
    CHECKS,
    IN_PLACE,
    READ,
    measure_autoscaler,
    measure_claim,
    measure_job,
    measure_node,
    measure_place,
    measure_read,
    measure_workload,
)
from cortexops.domain.metric_checks import LEFT_OUT
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.verification import Limits, Measurement, Phase, Verification, assess
from cortexops.domain.workload import WORKLOADS
from cortexops.ports.cluster import ReadableCluster

_WELL = (*WORKLOADS, "Node")
"""Kinds whose health is known by themselves."""
_ASKED = {
    "HorizontalPodAutoscaler": measure_autoscaler,
    "PersistentVolumeClaim": measure_claim,
}
"""Kinds that are measured when an action asks for it, as a Job is, of which the pods are looked at too."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class SteadyClock:
    """The time of its making, and on from there at the pace of a clock that nobody sets. A wall clock that is
    put right while something is watched must not make ten seconds of good health out of one."""

    def __init__(self) -> None:
        self._at, self._from = utc_now(), time.monotonic()

    def __call__(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._from)


async def measure(
    cluster: ReadableCluster,
    subject: ResourceRef,
    *,
    since: datetime,
    least_replicas: int = 0,
    criteria: Sequence[str] = (),
    change: Change | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> list[Measurement]:
    """One round. What cannot be measured is an Error, never a silence."""
    try:
        live = await cluster.get(subject.kind, subject.namespace, subject.name)
        found: list[Measurement] = []
        if subject.kind in WORKLOADS:
            found += measure_workload(
                live,
                await _pods(cluster, subject, live),
                since=since,
                now=clock(),
                least_replicas=least_replicas,
            )
        elif subject.kind == "Node":
            pods = await _pods_on(cluster, subject) if "node_drained" in criteria else []
            found += measure_node(live, pods, change=change, criteria=criteria, now=clock())
        elif subject.kind == "Job":
            begun = (live.get("status") or {}).get("active")  # else its pods have nothing to tell
            pods = await _pods(cluster, subject, live) if begun else []
            found.append(measure_job(live, pods, now=clock()))
        elif subject.kind in _ASKED:
            found.append(_ASKED[subject.kind](live, now=clock()))
        if change is not None and change.target == subject and IN_PLACE in criteria:
            found.append(measure_place(change, live, now=clock()))
            if READ in criteria and change.pods:
                beside = (await cluster.list("Pod", subject.namespace)).items
                found.append(measure_read(change, beside, since=since, now=clock()))
        return found
    except NotFound:
        return [_bad(subject, Phase.FAILED, "the object is gone", clock())]
    except CortexError as error:
        return [_bad(subject, Phase.ERROR, told(error), clock())]


async def _pods(cluster: ReadableCluster, subject: ResourceRef, live: JSON) -> list[JSON]:
    labels = (live["spec"].get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return (await cluster.list("Pod", subject.namespace, labels=selector)).items


async def _pods_on(cluster: ReadableCluster, node: ResourceRef) -> list[JSON]:
    return (await cluster.list("Pod", fields=f"spec.nodeName={node.name}")).items


def _bad(subject: ResourceRef, phase: Phase, detail: str, at: datetime) -> Measurement:
    return Measurement(check=str(subject), phase=phase, detail=detail, at=at)


def subjects(*refs: ResourceRef) -> list[ResourceRef]:
    """The first, and those of the others whose health is known by themselves, each once."""
    return [ref for i, ref in enumerate(dict.fromkeys(refs)) if i == 0 or ref.kind in _WELL]


async def watch_health(
    cluster: ReadableCluster,
    watched: Sequence[ResourceRef],
    limits: Limits,
    *,
    since: datetime,
    least_replicas: int = 0,
    criteria: Sequence[str] = (),
    change: Change | None = None,
    clock: Callable[[], datetime] | None = None,
    also: Callable[[bool], Awaitable[list[Measurement]]] | None = None,
    longer: Limits | None = None,
) -> Verification:
    """Measure all subjects until `assess` has a verdict. When criteria are named, only those count.

    `also` measures what is no object's own health, once a round; all of it counts. It is told whether all
    objects were well in the round before. What it only left out is no measurement: where no object was
    measured either, the round measured nothing. `longer` are the limits for as long as the objects are well.
    """
    if not criteria:
        watched = [ref for ref in watched if ref.kind in _WELL]
    elif IN_PLACE not in criteria:
        watched = [ref for ref in watched if ref.kind in (*_WELL, "Job", *_ASKED)]
    clock = clock or SteadyClock()
    started = clock()
    rounds: list[list[Measurement]] = []
    well = not watched
    while True:
        found = await asyncio.gather(
            *(
                measure(
                    cluster,
                    ref,
                    since=since,
                    least_replicas=least_replicas,
                    criteria=criteria,
                    change=change,
                    clock=clock,
                )
                for ref in watched
            ),
            *([also(well)] if also is not None else []),
        )
        own = [
            m
            for part in found[: len(watched)]
            for m in part
            if not criteria or m.check in criteria or m.check not in CHECKS
        ]
        well = all(m.phase is Phase.SUCCESSFUL for m in own)
        others = [m for part in found[len(watched) :] for m in part if own or m.check != LEFT_OUT]
        rounds.append([*own, *others])
        bounds = longer if longer is not None and well else limits
        verdict = assess(rounds, bounds, started=started, now=clock())
        if verdict.phase is not Phase.RUNNING:
            return verdict
        await asyncio.sleep(limits.interval)
