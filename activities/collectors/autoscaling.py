"""Autoscalers and disruption budgets of the target's workloads, and autoscalers of those that it calls."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors._near import workloads
from activities.gathering import Gathering
from activities.workload_reading import template_labels
from cortexops.domain.kubernetes import meta, selectors
from cortexops.domain.kubernetes.values import mapping, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation

_NAMESPACES = 3
_ASKED = (SignalType.ERROR_RATE, SignalType.LATENCY, SignalType.CPU_HIGH, SignalType.OTHER)


@collector("autoscaling")
async def collect(gathering: Gathering) -> None:
    await asyncio.gather(*(_of(gathering, root) for root in gathering.roots if root.kind != "Node"))


async def _of(gathering: Gathering, root: ResourceRef) -> None:
    scalers, budgets = await asyncio.gather(
        gathering.listing("HorizontalPodAutoscaler", root.namespace),
        gathering.listing("PodDisruptionBudget", root.namespace),
    )
    _keep_scaler(gathering, root, scalers)
    labels = template_labels(root, gathering.find(root) or {})
    for budget in budgets:
        if selectors.matches(mapping(budget, "spec", "selector"), labels):
            gathering.keep("PodDisruptionBudget", budget)
            ref = meta.ref_of(root.cluster, "PodDisruptionBudget", budget)
            gathering.connect(ref, Relation.GUARDS, root)


@collector("autoscaling_upstream", wave=4)
async def collect_upstream(gathering: Gathering) -> None:
    """Of callees whose pods were looked at, where answers are bad: one list a namespace, the target's was read."""
    if not any(signal.type in _ASKED for signal in gathering.signals):
        return
    looked_at = [ref for ref in workloads(gathering) if ref not in gathering.roots and gathering.pods_of(ref)]
    places = list(dict.fromkeys(ref.namespace for ref in looked_at))[:_NAMESPACES]
    for place in places:
        scalers = await gathering.listing("HorizontalPodAutoscaler", place)
        for ref in looked_at:
            if ref.namespace == place:
                _keep_scaler(gathering, ref, scalers)


def _keep_scaler(gathering: Gathering, workload: ResourceRef, scalers: list[JSON]) -> None:
    for scaler in scalers:
        scaled = mapping(scaler, "spec", "scaleTargetRef")
        if (text(scaled, "kind"), text(scaled, "name")) == (workload.kind, workload.name):
            gathering.keep("HorizontalPodAutoscaler", scaler)
            ref = meta.ref_of(workload.cluster, "HorizontalPodAutoscaler", scaler)
            gathering.connect(ref, Relation.SCALES, workload)
