"""Reading what a model asked for: the fixed list of `cortexops.domain.reasoning_requests`, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from activities.gathering import Gathering, Reads, event_fact
from activities.workload_reading import pod_template, read_configuration, read_history
from cortexops.domain.evidence import EvidenceKind
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.values import mapping, number, objects, text
from cortexops.domain.reasoning_answers import EvidenceRequest, Gathered
from cortexops.domain.reasoning_material import Further
from cortexops.domain.reasoning_requests import Wanted, wanted
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import EventFact

_MOST_EVENTS = 8
_MOST_CONDITIONS = 12
_MOST_QUOTAS = 5
_MOST_REVISIONS = 6
_COUNTS = ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "unavailableReplicas")


async def read_further(
    reads: Reads,
    target: ResourceRef,
    requests: Sequence[EvidenceRequest],
    objects: Sequence[ResourceRef],
    *,
    taken: Sequence[str],
    seconds: float,
) -> Gathered:
    """New evidence with ids after those that are taken; requests that are not good are refused and counted.

    Ends after `seconds` with what is there. Never raises for what the cluster does.
    """
    gathering = Gathering(reads, target)
    further = Further(taken, mask=gathering.masked)
    refused = 0
    try:
        async with asyncio.timeout(seconds):
            for request in requests:
                found = wanted(request, objects)
                if found is None or not await _READERS[found.collector](gathering, found, further):
                    refused += 1
    except TimeoutError:
        refused += 1
    return Gathered(evidence=tuple(further.entries), refused=refused)


async def _logs(gathering: Gathering, request: Wanted, further: Further) -> bool:
    """False for a container that the pod does not have."""
    pod = await gathering.get("Pod", request.object.namespace, request.object.name)
    if pod is None:
        return False
    states = pods.container_states(pod)
    names = [state.name for state in states]
    bad = [state.name for state in states if state.restarts or state.running_since is None]
    container = request.container or next(iter([*bad, *names]), "")
    if container not in names:
        return False
    await read_configuration(gathering, request.object)  # what is secret there is masked in the log
    if await gathering.log(request.object, container, previous=request.previous):
        for log in gathering.logs:
            if (log.pod, log.container, log.previous) == (request.object, container, request.previous):
                further.log(log, lines=request.lines)
    return True


async def _events(gathering: Gathering, request: Wanted, further: Further) -> bool:
    ref = request.object
    fields = f"involvedObject.kind={ref.kind},involvedObject.name={ref.name}"
    items = await gathering.listing("Event", ref.namespace or "default", fields=fields)
    facts = [
        fact for item in items if (fact := event_fact(ref.cluster, item)) is not None and fact.about == ref
    ]
    for fact in sorted(facts, key=_age)[:_MOST_EVENTS]:
        further.event(fact)
    return True


def _age(fact: EventFact) -> float:
    return -(fact.last.timestamp() if fact.last else 0.0)


async def _status(gathering: Gathering, request: Wanted, further: Further) -> bool:
    ref = request.object
    obj = await gathering.get(ref.kind, ref.namespace, ref.name)
    if obj is None:
        return False
    said = [f"phase {phase}"] if (phase := text(obj, "status", "phase")) else []
    status = mapping(obj, "status")
    said += [f"{name} {number(status, name)}" for name in _COUNTS if name in status]
    if ref.kind == "Pod":
        said += [_container(state) for state in pods.container_states(obj)]
    further.add(
        EvidenceKind.STATUS,
        ref,
        f"status of {ref}: {', '.join(said) or 'nothing but what follows'}",
        excerpt="\n".join(_conditions(obj)),
        command=commands.show(ref),
    )
    return True


def _container(state: pods.ContainerState) -> str:
    now = (
        f"waiting ({state.waiting})" if state.waiting else "running" if state.running_since else "not running"
    )
    last = state.final
    ended = f", last ended with exit code {last.code} {last.reason}" if last is not None else ""
    return f"container {state.name} {now}, {state.restarts} restarts{ended}"


def _conditions(obj: JSON) -> list[str]:
    return [
        f"{text(each, 'type')}={text(each, 'status')} {text(each, 'reason')}: {text(each, 'message')[:300]}"
        for each in objects(obj, "status", "conditions")[:_MOST_CONDITIONS]
    ]


async def _revisions(gathering: Gathering, request: Wanted, further: Further) -> bool:
    ref = request.object
    if await gathering.get(ref.kind, ref.namespace, ref.name) is None:
        return False
    await read_history(gathering, ref)
    lines = []
    for kind in ("ReplicaSet", "ControllerRevision"):
        for own, obj in gathering.of_kind(kind):
            template = (
                pod_template(own, obj) if kind == "ReplicaSet" else mapping(obj, "data", "spec", "template")
            )
            images = ", ".join(
                text(each, "image") for each in objects(mapping(template, "spec"), "containers")
            )
            revision = text(obj, "metadata", "annotations", "deployment.kubernetes.io/revision")
            made = meta.created(obj)
            lines.append(
                f"revision {revision or number(obj, 'revision')} since {made.isoformat() if made else 'unknown'}:"
                f" {images}, {number(obj, 'status', 'replicas')} replicas"
            )
    if lines:
        further.add(
            EvidenceKind.CHANGE,
            ref,
            f"revisions of {ref}",
            excerpt="\n".join(sorted(lines, reverse=True)[:_MOST_REVISIONS]),
            command=commands.show(ref),
        )
    return True


async def _quota(gathering: Gathering, request: Wanted, further: Further) -> bool:
    for item in (await gathering.listing("ResourceQuota", request.object.namespace))[:_MOST_QUOTAS]:
        ref = gathering.ref("ResourceQuota", request.object.namespace, meta.name(item))
        used, hard = mapping(item, "status", "used"), mapping(item, "status", "hard")
        uses = ", ".join(f"{name} {used.get(name, '?')} of {most}" for name, most in sorted(hard.items()))
        further.add(EvidenceKind.STATUS, ref, f"{ref} uses {uses}", command=commands.show(ref))
    return True


_READERS: dict[str, Callable[[Gathering, Wanted, Further], Awaitable[bool]]] = {
    "logs": _logs,
    "events": _events,
    "status": _status,
    "revisions": _revisions,
    "quota": _quota,
}
