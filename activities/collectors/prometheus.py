"""Usage against limits, throttling and full volumes, as Prometheus measured them when the alert fired.

Asks only where a server was named. Queries are fixed; what is put into them are names that Kubernetes
allows, quoted for a regular expression.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import NamedTuple

from activities.collectors import collector
from activities.gathering import Backend, Gathering
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.prometheus import sample_value
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Measure

_PODS = '{{namespace="{namespace}",pod=~"{pods}",container!="",container!="POD"}}'
_MOST_SERIES = 50


class _Question(NamedTuple):
    what: str
    query: str
    says: str


_QUESTIONS = (
    _Question(
        "memory_bytes",
        f"max by (pod, container) (max_over_time(container_memory_working_set_bytes{_PODS}[1h]))",
        "used up to {value:.0f} bytes of memory in the hour before the alert",
    ),
    _Question(
        "cpu_cores",
        f"max by (pod, container) (rate(container_cpu_usage_seconds_total{_PODS}[5m]))",
        "used {value:.2f} CPU cores when the alert fired",
    ),
    _Question(
        "cpu_throttled_share",
        f"max by (pod, container) (rate(container_cpu_cfs_throttled_periods_total{_PODS}[5m])"
        f" / rate(container_cpu_cfs_periods_total{_PODS}[5m]))",
        "was throttled in {value:.0%} of its CPU periods when the alert fired",
    ),
)
_VOLUMES = (
    'max by (persistentvolumeclaim) (kubelet_volume_stats_used_bytes{{namespace="{namespace}"}}'
    ' / kubelet_volume_stats_capacity_bytes{{namespace="{namespace}"}})'
)


@collector("prometheus", wave=2)
async def collect(gathering: Gathering) -> None:
    backend = gathering.backend("prometheus")
    if backend is None:
        return
    roots = [root for root in gathering.roots if root.namespace]
    await asyncio.gather(*(_of(gathering, backend, root) for root in roots[:2]))


async def _of(gathering: Gathering, backend: Backend, root: ResourceRef) -> None:
    pods = "|".join(re.escape(ref.name) for ref, _ in gathering.pods_of(root)[:20])
    pods = pods or f"{re.escape(root.name)}-.*"
    at = min((signal.started_at for signal in gathering.signals), default=datetime.now(UTC))
    quoted = pods.replace("\\", "\\\\")
    for question in _QUESTIONS:
        query = question.query.format(namespace=root.namespace, pods=quoted)
        for series, value in await _ask(gathering, backend, question.what, query, at):
            pod = gathering.ref("Pod", root.namespace, text(series, "pod"))
            container = text(series, "container")
            said = f"container {container} of {pod} {question.says.format(value=value)}"
            gathering.measure(
                Measure(about=pod, container=container, what=question.what, value=value, at=at, says=said)
            )
    if gathering.target.kind == "PersistentVolumeClaim" or gathering.of_kind("PersistentVolumeClaim"):
        query = _VOLUMES.format(namespace=root.namespace)
        for series, value in await _ask(gathering, backend, "volume_used_share", query, at):
            claim = gathering.ref(
                "PersistentVolumeClaim", root.namespace, text(series, "persistentvolumeclaim")
            )
            said = f"{claim} was {value:.0%} full when the alert fired"
            gathering.measure(Measure(about=claim, what="volume_used_share", value=value, at=at, says=said))


async def _ask(
    gathering: Gathering, backend: Backend, what: str, query: str, at: datetime
) -> list[tuple[JSON, float]]:
    """The series and their values at that moment; a gap when there are none or no answer came."""
    answer = await gathering.query(
        backend, f"query prometheus for {what}", "/api/v1/query", {"query": query, "time": at.isoformat()}
    )
    found: list[tuple[JSON, float]] = []
    for item in objects(answer or {}, "data", "result")[:_MOST_SERIES]:
        value = sample_value(item.get("value"))
        if value is not None:
            found.append((mapping(item, "metric"), value))
    if answer is not None and not found:
        gathering.no_data(f"query prometheus for {what}")
    return found
