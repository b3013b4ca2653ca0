"""Nodes: those under the target's pods, and the others, which bound what may be scheduled."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors.events import about
from activities.gathering import Gathering
from cortexops.domain.kubernetes import complaints, meta, pods
from cortexops.domain.kubernetes.nodes import problems
from cortexops.domain.resource import JSON
from cortexops.domain.topology import Relation

_LISTED = 100
_BY_NAME = 2
_NODE_EVENTS = "default"


@collector("nodes", wave=2)
async def collect(gathering: Gathering) -> None:
    for node in await gathering.listing("Node", most=_LISTED):
        gathering.keep("Node", node)
    if gathering.target.kind == "Node":
        return
    under: dict[str, int] = {}
    for root in gathering.roots:
        for ref, pod in gathering.pods_of(root):
            name = pods.node_name(pod)
            if name:
                gathering.connect(ref, Relation.RUNS_ON, gathering.ref("Node", "", name))
                under[name] = under.get(name, 0) + (10 if pods.is_unready(pod) else 1)
    names = sorted(under, key=lambda name: (-under[name], name))
    missing = [name for name in names if gathering.find(gathering.ref("Node", "", name)) is None]
    await asyncio.gather(*(gathering.get("Node", "", name) for name in missing[:_BY_NAME]))
    ill = [gathering.ref("Node", "", name) for name in names]
    ill = [ref for ref in ill if _is_ill(gathering.find(ref))]
    killed = [gathering.ref("Node", "", pods.node_name(pod)) for pod in _killed(gathering)]
    crowded = [gathering.ref("Node", "", pods.node_name(pod)) for pod in _without_room(gathering)]
    await about(gathering, list(dict.fromkeys([*ill[:1], *killed[:1], *crowded[:1]])), _NODE_EVENTS)


def _without_room(gathering: Gathering) -> list[JSON]:
    """Pods of the target whose image does not fit on the disk of their node: it may tell what it tried."""
    found = [pod for root in gathering.roots for _, pod in gathering.pods_of(root) if pods.node_name(pod)]
    return [
        pod
        for pod in found
        if any(
            state.waiting in pods.PULL_REASONS and complaints.disk_full([state.waiting_message])
            for state in pods.container_states(pod)
        )
    ]


def _killed(gathering: Gathering) -> list[JSON]:
    """Pods of the target whose container was killed, nobody says by whom: their node may tell."""
    found = [pod for root in gathering.roots for _, pod in gathering.pods_of(root) if pods.node_name(pod)]
    return [pod for pod in found if any(_ended_by_force(state) for state in pods.container_states(pod))]


def _ended_by_force(state: pods.ContainerState) -> bool:
    final = state.final
    return final is not None and final.code == pods.SIGKILL_EXIT and not final.out_of_memory


def _is_ill(node: JSON | None) -> bool:
    if node is None:
        return False
    if meta.condition(node, "Ready").status not in ("True", ""):
        return True
    pressures = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
    return bool(problems(node)) or any(meta.condition(node, kind).status == "True" for kind in pressures)
