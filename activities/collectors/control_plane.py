"""The controller manager, where a workload's controller has not taken note of its newest change."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.control_plane import CONTROLLER_MANAGER, SYSTEM, is_unobserved


@collector("control_plane")
async def collect(gathering: Gathering) -> None:
    if not any(is_unobserved(gathering.find(root) or {}) for root in gathering.roots):
        return
    found, _ = await asyncio.gather(
        gathering.listing("Pod", SYSTEM, labels=f"component={CONTROLLER_MANAGER}"),
        gathering.get("Lease", SYSTEM, CONTROLLER_MANAGER),
    )
    for item in found:
        pod = gathering.keep("Pod", item)
        ref = meta.ref_of(gathering.target.cluster, "Pod", pod)
        for state in pods.container_states(pod)[:1]:
            if not state.ready:
                await gathering.log(ref, state.name, previous=state.ended is None)
