"""Network policies of Cilium and Calico on the target's pods and on those of what it calls."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors._near import namespaces, workloads
from activities.gathering import Gathering
from cortexops.domain.kubernetes import addon_policies, complaints, meta
from cortexops.domain.resource import KINDS
from cortexops.domain.topology import Relation


@collector("addon_policies", wave=4)
async def collect(gathering: Gathering) -> None:
    silent = (complaints.slow, complaints.resolving)
    if not any(each(log.lines) for log in gathering.logs for each in silent):
        return  # nobody's answers fail to come
    near = workloads(gathering)
    places = namespaces(gathering)
    wanted = [
        (kind, place)
        for kind in addon_policies.KINDS
        for place in (places if KINDS[kind].namespaced else places[:1] and [""])
    ]
    lists = await asyncio.gather(*(gathering.listing(kind, place, optional=True) for kind, place in wanted))
    for (kind, _), items in zip(wanted, lists, strict=True):
        for item in items:
            hit = [
                ref
                for ref, labels in near.items()
                if addon_policies.selects(kind, item, ref.namespace, labels)
            ]
            if hit:
                gathering.keep(kind, item)
                for ref in hit:
                    gathering.connect(meta.ref_of(ref.cluster, kind, item), Relation.ACTS_ON, ref)
