"""Events of the target's namespace; where those are too many, of the target and its worst pods by name."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.job_runs import CREATED, DEADLINE
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.resource import ResourceRef

_BY_NAME = 3
_NODE_EVENTS = "default"  # the namespace in which events about nodes are kept


@collector("events", wave=2)
async def collect(gathering: Gathering) -> None:
    if gathering.target.kind == "Node":
        await about(gathering, [gathering.target], _NODE_EVENTS)
        return
    namespaces = {ref.namespace for ref in [gathering.target, *gathering.roots] if ref.namespace}
    await asyncio.gather(*(_namespace(gathering, namespace) for namespace in sorted(namespaces)))


async def _namespace(gathering: Gathering, namespace: str) -> None:
    for event in await gathering.listing("Event", namespace):
        gathering.add_event(event)
    if namespace in gathering.events_cut:
        await about(gathering, _telling(gathering, namespace)[:_BY_NAME], namespace)
        await _of_ended_jobs(gathering, namespace)


async def _of_ended_jobs(gathering: Gathering, namespace: str) -> None:
    """A Job whose deadline ended it has no pods any more: its events name them, and theirs tell why."""
    own = [ref for root in gathering.roots for ref in (root, *gathering.scene_topology().descendants(root))]
    jobs = [
        ref
        for ref in dict.fromkeys(own)
        if ref.kind == "Job"
        and ref.namespace == namespace
        and meta.condition(gathering.find(ref) or {}, "Failed").reason == DEADLINE
    ]
    await about(gathering, jobs[:1], namespace)
    gone = [
        gathering.ref("Pod", namespace, match.group(1))
        for event in gathering.events
        if event.about in jobs[:1] and event.reason == "SuccessfulCreate"
        if (match := CREATED.match(event.message))
    ]
    await about(gathering, [ref for ref in gone if gathering.find(ref) is None][:_BY_NAME], namespace)


def _telling(gathering: Gathering, namespace: str) -> list[ResourceRef]:
    """The worst pod, the workload, then further pods in trouble."""
    roots = [root for root in gathering.roots if root.namespace == namespace]
    own = [pair for root in roots for pair in gathering.pods_of(root)]
    bad = [ref for ref, pod in own if pods.is_unready(pod)] or [ref for ref, _ in own[:1]]
    return list(dict.fromkeys([*bad[:1], *roots, *bad[1:]]))


async def about(gathering: Gathering, refs: list[ResourceRef], namespace: str) -> None:
    """Events about these objects, one request each."""
    lists = await asyncio.gather(
        *(
            gathering.listing(
                "Event", namespace, fields=f"involvedObject.kind={ref.kind},involvedObject.name={ref.name}"
            )
            for ref in refs
        )
    )
    for events in lists:
        for event in events:
            gathering.add_event(event)
