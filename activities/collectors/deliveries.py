"""Who delivers the target's workloads: Applications of Argo CD, HelmReleases and Kustomizations of Flux."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors._near import own_workloads
from activities.gathering import Gathering
from cortexops.domain.kubernetes import delivery, meta
from cortexops.domain.topology import Relation


@collector("deliveries")
async def collect(gathering: Gathering) -> None:
    wanted = [
        (each, root)
        for root in own_workloads(gathering)
        for each in delivery.deliverers(gathering.find(root) or {})
    ]
    lists = await asyncio.gather(
        *(
            gathering.listing(each.kind, each.namespace, fields=f"metadata.name={each.name}", optional=True)
            for each, _ in wanted
        )
    )
    for (each, root), items in zip(wanted, lists, strict=True):
        for item in items:
            if meta.name(item) == each.name:
                gathering.keep(each.kind, item)
                ref = meta.ref_of(gathering.target.cluster, each.kind, item)
                gathering.connect(ref, Relation.ACTS_ON, root)
