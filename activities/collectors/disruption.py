"""Disruption budgets of the pods on a node that is being drained."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta, selectors
from cortexops.domain.kubernetes.values import dig, mapping
from cortexops.domain.topology import Relation


@collector("disruption", wave=2)
async def collect(gathering: Gathering) -> None:
    if gathering.target.kind != "Node":
        return
    if dig(gathering.find(gathering.target) or {}, "spec", "unschedulable") is not True:
        return
    on_node = gathering.of_kind("Pod")
    for budget in await gathering.listing("PodDisruptionBudget"):
        selector = mapping(budget, "spec", "selector")
        for ref, pod in on_node:
            if ref.namespace == meta.namespace(budget) and selectors.matches(selector, meta.labels(pod)):
                gathering.keep("PodDisruptionBudget", budget)
                guard = meta.ref_of(gathering.target.cluster, "PodDisruptionBudget", budget)
                gathering.connect(guard, Relation.GUARDS, ref)
