"""Autoscalers and disruption budgets of the target's workloads."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import template_labels
from cortexops.domain.kubernetes import meta, selectors
from cortexops.domain.kubernetes.values import mapping, text
from cortexops.domain.resource import ResourceRef
from cortexops.domain.topology import Relation


@collector("autoscaling")
async def collect(gathering: Gathering) -> None:
    await asyncio.gather(*(_of(gathering, root) for root in gathering.roots if root.kind != "Node"))


async def _of(gathering: Gathering, root: ResourceRef) -> None:
    scalers, budgets = await asyncio.gather(
        gathering.listing("HorizontalPodAutoscaler", root.namespace),
        gathering.listing("PodDisruptionBudget", root.namespace),
    )
    for scaler in scalers:
        scaled = mapping(scaler, "spec", "scaleTargetRef")
        if (text(scaled, "kind"), text(scaled, "name")) == (root.kind, root.name):
            gathering.keep("HorizontalPodAutoscaler", scaler)
            ref = meta.ref_of(root.cluster, "HorizontalPodAutoscaler", scaler)
            gathering.connect(ref, Relation.SCALES, root)
    labels = template_labels(root, gathering.find(root) or {})
    for budget in budgets:
        if selectors.matches(mapping(budget, "spec", "selector"), labels):
            gathering.keep("PodDisruptionBudget", budget)
            ref = meta.ref_of(root.cluster, "PodDisruptionBudget", budget)
            gathering.connect(ref, Relation.GUARDS, root)
