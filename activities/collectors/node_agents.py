"""DaemonSets that pods of a node cannot do without, where pods of the target complain of what these do."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors._serving import behind
from activities.gathering import Gathering
from activities.workload_reading import read_logs, read_pods
from cortexops.domain.kubernetes import complaints, hosts, meta, pods
from cortexops.domain.kubernetes.nodes import (
    SETUP_EVENTS,
    being_set_up,
    file_server,
    missing_attacher,
    missing_driver,
    mounts_for,
    registers,
    roles,
)
from cortexops.domain.kubernetes.storage import provides
from cortexops.domain.kubernetes.values import text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.topology import Relation

_NODES = 2
_AGENTS = 2


@collector("node_agents", wave=3)
async def collect(gathering: Gathering) -> None:
    if gathering.target.kind == "Node":
        return
    await asyncio.gather(*(_on(gathering, node) for node in _suspected(gathering)[:_NODES]))
    await _attachers(gathering)
    await _file_servers(gathering)


async def _file_servers(gathering: Gathering) -> None:
    """The workloads of this cluster that serve files which cannot be mounted, by the Service that is asked."""
    own = {ref for root in gathering.roots for ref, _ in gathering.pods_of(root)}
    asked = {host for e in gathering.events if e.about in own and (host := file_server(e.message))}
    for host in sorted(asked)[:_AGENTS]:
        address = hosts.service_address(host, gathering.target.namespace) if "." in host else None
        for item in await gathering.listing("Service"):
            named = (meta.namespace(item), meta.name(item)) == address
            if not named and text(item, "spec", "clusterIP") != host:
                continue
            gathering.keep("Service", item)
            service = gathering.ref("Service", meta.namespace(item), meta.name(item))
            for workload in await behind(gathering, service, rarer=False):
                await read_pods(gathering, workload)
                await read_logs(gathering, workload, most=1)


async def _attachers(gathering: Gathering) -> None:
    """The workloads that attach volumes for pods of the target, where they do not run."""
    own = {ref for root in gathering.roots for ref, _ in gathering.pods_of(root)}
    drivers = {driver for e in gathering.events if e.about in own and (driver := missing_attacher(e.message))}
    for kind in ("Deployment", "StatefulSet") if drivers else ():
        for item in await gathering.listing(kind):
            if any(provides(item, driver) for driver in drivers) and not pods.ready_replicas(item):
                ref = meta.ref_of(gathering.target.cluster, kind, gathering.keep(kind, item))
                await read_pods(gathering, ref)
                await read_logs(gathering, ref, most=1)


def _suspected(gathering: Gathering) -> list[ResourceRef]:
    """Nodes on which pods cannot be set up, or complain that they do not reach others; the worst first."""
    own = dict(pair for root in gathering.roots for pair in gathering.pods_of(root))
    found: dict[ResourceRef, int] = {}

    def count(pod: ResourceRef, weight: int) -> None:
        name = pods.node_name(own[pod])
        if name:
            node = gathering.ref("Node", "", name)
            found[node] = found.get(node, 0) + weight

    for event in gathering.events:
        if event.reason in SETUP_EVENTS and event.about in own and pods.is_unready(own[event.about]):
            count(event.about, 10)
    for ref, pod in own.items():
        if being_set_up(pod):
            count(ref, 10)
    for log in gathering.logs:
        said = (*complaints.unreachable(log.lines), *complaints.resolving(log.lines))
        if log.pod in own and said:
            count(log.pod, 1)
    return sorted(found, key=lambda node: (-found[node], node.name))


async def _on(gathering: Gathering, node: ResourceRef) -> None:
    ill: list[tuple[ResourceRef, ResourceRef]] = []
    there = await gathering.listing("Pod", fields=f"spec.nodeName={node.name}")
    for item in there:
        owner = meta.owner(item)
        if owner is None or owner[0] != "DaemonSet" or not roles(owner[1], item) or not pods.is_unready(item):
            continue
        pod = meta.ref_of(node.cluster, "Pod", gathering.keep("Pod", item))
        daemon_set = gathering.ref("DaemonSet", pod.namespace, owner[1])
        gathering.connect(pod, Relation.RUNS_ON, node)
        gathering.connect(daemon_set, Relation.OWNS, pod)
        ill.append((daemon_set, pod))
    await asyncio.gather(*(_look(gathering, *each) for each in ill[:_AGENTS]))
    if there:  # otherwise pods may not be read, and nobody knows which are missing
        await _absent(gathering, node, there)


async def _absent(gathering: Gathering, node: ResourceRef, there: list[JSON]) -> None:
    """The DaemonSet of a volume driver that pods on the node miss, where it has no pod there at all."""
    mounting = {meta.ref_of(node.cluster, "Pod", item) for item in there}
    drivers = {
        driver
        for event in gathering.events
        if event.about in mounting and (driver := missing_driver(event.message))
    }
    present = {owner[1] for item in there if (owner := meta.owner(item)) is not None}
    for driver in sorted(drivers):
        sets = [item for item in await gathering.listing("DaemonSet") if mounts_for(item, driver)]
        if not sets or any(meta.name(item) in present for item in sets):
            continue
        chosen = min(sets, key=lambda item: (not registers(item), meta.name(item)))
        ref = meta.ref_of(node.cluster, "DaemonSet", gathering.keep("DaemonSet", chosen))
        gathering.connect(ref, Relation.MEANT_FOR, node)


async def _look(gathering: Gathering, daemon_set: ResourceRef, pod: ResourceRef) -> None:
    """The DaemonSet itself, and what the container that fails said last."""
    await gathering.get("DaemonSet", daemon_set.namespace, daemon_set.name)
    for state in pods.container_states(gathering.find(pod) or {}):
        if not state.ready and state.final is not None:
            await gathering.log(pod, state.name, previous=state.ended is None)
            return
