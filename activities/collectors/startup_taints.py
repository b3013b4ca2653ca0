"""Who takes a taint from new nodes once it is ready there, where pods wait for a node and it is not."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import read_logs, read_pods
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.placement import taints_until_ready, takes_taint
from cortexops.domain.kubernetes.values import number

_KINDS = ("DaemonSet", "Deployment", "StatefulSet")
_MOST = 2


@collector("startup_taints", wave=3)
async def collect(gathering: Gathering) -> None:
    own = [pod for root in gathering.roots for _, pod in gathering.pods_of(root)]
    keys = {key for pod in own for key in taints_until_ready(meta.condition(pod, "PodScheduled").message)}
    if not keys:
        return
    left = _MOST
    for kind in _KINDS:
        for item in await gathering.listing(kind):
            wanted = number(item, "status", "desiredNumberScheduled") or pods.wanted_replicas(item)
            short = pods.ready_replicas(item) < max(1, wanted)
            if left and short and any(takes_taint(item, key) for key in keys):
                left -= 1
                ref = meta.ref_of(gathering.target.cluster, kind, gathering.keep(kind, item))
                await read_pods(gathering, ref)
                await read_logs(gathering, ref, most=1)
