"""Volume claims of pods in trouble, the volumes behind them, and the storage classes when none is bound."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import read_logs, read_pods
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.references import claims
from cortexops.domain.kubernetes.storage import provides, provisioner_of
from cortexops.domain.kubernetes.values import mapping, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.topology import Relation

_MOST = 20
_VOLUMES = 2
_PROVISIONERS = ("Deployment", "StatefulSet")


@collector("storage", wave=2)
async def collect(gathering: Gathering) -> None:
    await asyncio.gather(*(read_claims(gathering, root) for root in gathering.roots if root.kind != "Node"))


async def read_claims(gathering: Gathering, root: ResourceRef, *, healthy: bool = False) -> None:
    """The claims that the workload's pods in trouble mount, and the volumes or classes that tell more;
    with `healthy` those of pods that look well, too."""
    wanted: dict[str, None] = {}
    for _, pod in gathering.pods_of(root):
        if healthy or pods.is_unready(pod) or any(state.restarts for state in pods.container_states(pod)):
            wanted.update(dict.fromkeys(claims(mapping(pod, "spec"))))
    if gathering.target.kind == "PersistentVolumeClaim":
        wanted.setdefault(gathering.target.name)
    if not wanted:
        return
    listed = {
        meta.name(item): item for item in await gathering.listing("PersistentVolumeClaim", root.namespace)
    }
    volumes: list[str] = []
    unbound = False
    for name in list(wanted)[:_MOST]:
        ref = gathering.ref("PersistentVolumeClaim", root.namespace, name)
        gathering.connect(root, Relation.MOUNTS, ref)
        claim = listed.get(name)
        if claim is None:
            continue
        gathering.keep("PersistentVolumeClaim", claim)
        if text(claim, "status", "phase") == "Bound":
            volumes.append(text(claim, "spec", "volumeName"))
        else:
            unbound = True
    if unbound:
        for item in await gathering.listing("StorageClass"):
            gathering.keep("StorageClass", item)
        await _provisioners(gathering, root, list(wanted))
    if any(_conflicts(pod) for _, pod in gathering.pods_of(root)):
        await asyncio.gather(
            *(gathering.get("PersistentVolume", "", name) for name in volumes[:_VOLUMES] if name)
        )


async def _provisioners(gathering: Gathering, root: ResourceRef, names: list[str]) -> None:
    """The workloads that make volumes for these claims, where they do not run."""
    drivers = {
        driver
        for name in names
        if (claim := gathering.find(gathering.ref("PersistentVolumeClaim", root.namespace, name)))
        if text(claim, "status", "phase") != "Bound" and (driver := provisioner_of(claim))
    }
    if not drivers:
        return
    lists = await asyncio.gather(*(gathering.listing(kind) for kind in _PROVISIONERS))
    for kind, items in zip(_PROVISIONERS, lists, strict=True):
        for item in items:
            if any(provides(item, driver) for driver in drivers) and not pods.ready_replicas(item):
                ref = meta.ref_of(gathering.target.cluster, kind, gathering.keep(kind, item))
                await read_pods(gathering, ref)
                await read_logs(gathering, ref, most=1)


def _conflicts(pod: JSON) -> bool:
    return "volume node affinity conflict" in meta.condition(pod, "PodScheduled").message
