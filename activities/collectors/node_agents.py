"""DaemonSets that pods of a node cannot do without, where pods of the target complain of what these do."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import complaints, meta, pods
from cortexops.domain.kubernetes.nodes import SETUP_EVENTS, being_set_up, roles
from cortexops.domain.resource import ResourceRef
from cortexops.domain.topology import Relation

_NODES = 2
_AGENTS = 2


@collector("node_agents", wave=3)
async def collect(gathering: Gathering) -> None:
    if gathering.target.kind == "Node":
        return
    await asyncio.gather(*(_on(gathering, node) for node in _suspected(gathering)[:_NODES]))


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
    for item in await gathering.listing("Pod", fields=f"spec.nodeName={node.name}"):
        owner = meta.owner(item)
        if owner is None or owner[0] != "DaemonSet" or not roles(owner[1], item) or not pods.is_unready(item):
            continue
        pod = meta.ref_of(node.cluster, "Pod", gathering.keep("Pod", item))
        daemon_set = gathering.ref("DaemonSet", pod.namespace, owner[1])
        gathering.connect(pod, Relation.RUNS_ON, node)
        gathering.connect(daemon_set, Relation.OWNS, pod)
        ill.append((daemon_set, pod))
    await asyncio.gather(*(_look(gathering, *each) for each in ill[:_AGENTS]))


async def _look(gathering: Gathering, daemon_set: ResourceRef, pod: ResourceRef) -> None:
    """The DaemonSet itself, and what the container that fails said last."""
    await gathering.get("DaemonSet", daemon_set.namespace, daemon_set.name)
    for state in pods.container_states(gathering.find(pod) or {}):
        if not state.ready and state.final is not None:
            await gathering.log(pod, state.name, previous=state.ended is None)
            return
