"""The pods that preempted pods of the target, and whose they are: events name them by uid and node only."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta
from cortexops.domain.preemption import Preemptor, is_it, nodes_of
from cortexops.domain.resource import KINDS
from cortexops.domain.topology import Relation

_NODES = 2


@collector("preemptors", wave=3)
async def collect(gathering: Gathering) -> None:
    own = tuple(f"{root.name}-" for root in gathering.roots)
    events = [e for e in gathering.events if e.about in gathering.roots or e.about.name.startswith(own)]
    await asyncio.gather(*(_on(gathering, node, by) for node, by in nodes_of(events)[:_NODES]))


async def _on(gathering: Gathering, node: str, by: Preemptor) -> None:
    for item in await gathering.listing("Pod", fields=f"spec.nodeName={node}"):
        if not is_it(item, by):
            continue
        pod = meta.ref_of(gathering.target.cluster, "Pod", gathering.keep("Pod", item))
        owner = meta.owner(item)
        if owner is None:
            return
        above = gathering.ref(owner[0], pod.namespace, owner[1])
        gathering.connect(above, Relation.OWNS, pod)
        suffix = meta.labels(item).get("pod-template-hash", "")
        if owner[0] == "ReplicaSet" and suffix and owner[1].endswith(f"-{suffix}"):
            deployment = gathering.ref("Deployment", pod.namespace, owner[1].removesuffix(f"-{suffix}"))
            gathering.connect(deployment, Relation.OWNS, above)
            above = deployment
        if above.kind in KINDS:
            await gathering.get(above.kind, above.namespace, above.name)
        return
