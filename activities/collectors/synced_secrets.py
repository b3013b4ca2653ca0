"""What fills the Secrets that the target's workloads read: External Secrets with their stores, Sealed Secrets."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors._near import workloads
from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta, syncing
from cortexops.domain.resource import ResourceRef
from cortexops.domain.topology import Relation

_NAMESPACES = 2
_STORES = 3


@collector("synced_secrets", wave=4)
async def collect(gathering: Gathering) -> None:
    used = {
        secret
        for workload in workloads(gathering)
        for secret in gathering.connected(workload, Relation.USES_SECRET)
    }
    places = sorted({ref.namespace for ref in used})[:_NAMESPACES]
    wanted = [(kind, place) for kind in syncing.KINDS for place in places]
    lists = await asyncio.gather(*(gathering.listing(kind, place, optional=True) for kind, place in wanted))
    stores: dict[ResourceRef, None] = {}
    for (kind, place), items in zip(wanted, lists, strict=True):
        for item in items:
            secret = gathering.ref("Secret", place, syncing.fills(kind, item))
            if secret not in used:
                continue
            gathering.keep(kind, item)
            ref = meta.ref_of(gathering.target.cluster, kind, item)
            gathering.connect(ref, Relation.ACTS_ON, secret)
            failed, store = syncing.failure(kind, item), syncing.store(item)
            if failed is not None and store is not None:
                of = gathering.ref(store[0], "" if store[0] == "ClusterSecretStore" else place, store[1])
                gathering.connect(of, Relation.ACTS_ON, ref)
                stores.setdefault(of)
    await asyncio.gather(
        *(gathering.get(r.kind, r.namespace, r.name, required=True) for r in list(stores)[:_STORES])
    )
