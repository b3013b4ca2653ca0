"""Pods of the target's workloads; for a node the pods that run on it."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import read_pods
from cortexops.domain.kubernetes import meta
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.topology import Relation


@collector("workload")
async def collect(gathering: Gathering) -> None:
    await asyncio.gather(
        *(
            _on_node(gathering, root) if root.kind == "Node" else read_pods(gathering, root)
            for root in gathering.roots
        )
    )


async def _on_node(gathering: Gathering, node: ResourceRef) -> None:
    for item in await gathering.listing("Pod", fields=f"spec.nodeName={node.name}"):
        pod = gathering.keep("Pod", item)
        ref = meta.ref_of(node.cluster, "Pod", pod)
        gathering.connect(ref, Relation.RUNS_ON, node)
        _own(gathering, ref, pod)


def _own(gathering: Gathering, ref: ResourceRef, pod: JSON) -> None:
    """Owners by name, without reading them: a ReplicaSet of a Deployment is called after it."""
    owner = meta.owner(pod)
    if owner is None or owner[0] == "Node":
        return
    above = gathering.ref(owner[0], ref.namespace, owner[1])
    gathering.connect(above, Relation.OWNS, ref)
    suffix = meta.labels(pod).get("pod-template-hash", "")
    if owner[0] == "ReplicaSet" and suffix and owner[1].endswith(f"-{suffix}"):
        deployment = gathering.ref("Deployment", ref.namespace, owner[1].removesuffix(f"-{suffix}"))
        gathering.connect(deployment, Relation.OWNS, above)
