"""Chaos experiments that act on the target's pods, or on those of what it calls. They live in any namespace."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors._near import own_workloads, workloads
from activities.gathering import Gathering
from cortexops.domain.kubernetes import chaos, meta
from cortexops.domain.resource import JSON
from cortexops.domain.topology import Relation

_MOST = 20  # experiments kept


@collector("chaos_experiments", wave=4)
async def collect(gathering: Gathering) -> None:
    near = workloads(gathering)
    if not near:
        return
    lists = await asyncio.gather(*(_of_kind(gathering, kind) for kind in chaos.KINDS))
    kept = 0
    for kind, items in zip(chaos.KINDS, lists, strict=True):
        for item in items:
            hit = [ref for ref, labels in near.items() if chaos.selects(kind, item, ref, labels)]
            if not hit or kept >= _MOST:
                continue
            kept += 1
            gathering.keep(kind, item)
            ref = meta.ref_of(gathering.target.cluster, kind, item)
            for workload in hit:
                gathering.connect(ref, Relation.ACTS_ON, workload)
            other = chaos.pair(kind, item)
            for workload, labels in near.items() if other is not None else ():
                if chaos.picks(other or {}, ref.namespace, workload, labels):
                    gathering.connect(ref, Relation.OTHER_END, workload)


async def _of_kind(gathering: Gathering, kind: str) -> list[JSON]:
    """Of the whole cluster in one request; where that is forbidden, of the target's namespaces."""
    everywhere = await gathering.listing(kind, optional=True)
    if everywhere or not gathering.forbidden_list(kind):
        return everywhere
    places = {ref.namespace for ref in own_workloads(gathering)}
    lists = await asyncio.gather(*(gathering.listing(kind, place, optional=True) for place in places))
    return [item for items in lists for item in items]
