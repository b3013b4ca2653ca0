"""Autoscalers that add-ons bring: ScaledObjects of KEDA and VerticalPodAutoscalers."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors._near import namespaces, workloads
from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.values import mapping, text
from cortexops.domain.topology import Relation

_PLACES = {"ScaledObject": "scaleTargetRef", "VerticalPodAutoscaler": "targetRef"}
_NAMESPACES = 2


@collector("further_autoscalers", wave=4)
async def collect(gathering: Gathering) -> None:
    near = {(ref.namespace, ref.kind, ref.name): ref for ref in workloads(gathering)}
    wanted = [(kind, place) for kind in _PLACES for place in namespaces(gathering)[:_NAMESPACES]]
    lists = await asyncio.gather(*(gathering.listing(kind, place, optional=True) for kind, place in wanted))
    for (kind, place), items in zip(wanted, lists, strict=True):
        for item in items:
            scaled = mapping(item, "spec", _PLACES[kind])
            workload = near.get((place, text(scaled, "kind") or "Deployment", text(scaled, "name")))
            if workload is not None:
                gathering.keep(kind, item)
                ref = meta.ref_of(gathering.target.cluster, kind, item)
                gathering.connect(ref, Relation.ACTS_ON, workload)
