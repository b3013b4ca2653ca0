"""Volume claims of pods that cannot be scheduled or started."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import pods
from cortexops.domain.kubernetes.values import objects, text

_MOST = 2


@collector("storage", wave=2)
async def collect(gathering: Gathering) -> None:
    claims: dict[tuple[str, str], None] = {}
    for root in gathering.roots:
        if root.kind == "Node":
            continue
        for ref, pod in gathering.pods_of(root):
            if pods.phase(pod) == "Pending":
                for volume in objects(pod, "spec", "volumes"):
                    name = text(volume, "persistentVolumeClaim", "claimName")
                    if name:
                        claims.setdefault((ref.namespace, name))
    await asyncio.gather(
        *(
            gathering.get("PersistentVolumeClaim", namespace, name, required=True)
            for namespace, name in list(claims)[:_MOST]
        )
    )
