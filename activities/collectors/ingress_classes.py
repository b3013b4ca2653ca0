"""The classes that an Ingress may name, where the target is one that nobody seems to serve."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes.values import objects


@collector("ingress_classes", wave=2)
async def collect(gathering: Gathering) -> None:
    ingress = gathering.find(gathering.target) if gathering.target.kind == "Ingress" else None
    if ingress is None or objects(ingress, "status", "loadBalancer", "ingress"):
        return
    for item in await gathering.listing("IngressClass", optional=True):
        gathering.keep("IngressClass", item)
