"""What is read of one workload: its pods, its revisions, its configuration, its logs."""

from __future__ import annotations

import asyncio
from datetime import datetime

from activities.gathering import Gathering
from cortexops.domain.evidence import GapReason
from cortexops.domain.kubernetes import meta, pods, references, selectors
from cortexops.domain.kubernetes.values import mapping, number, text, texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import RECENT

_PODS_KEPT = 100
_REVISIONS_KEPT = 6
_GETS = 4  # ConfigMaps or Secrets read one by one; beyond that ConfigMaps are listed
_LOG_REQUESTS = 4
_LOG_PODS = 3
_TRIES = 2
_JOBS_KEPT = 3
_ABOUT_CRASHES = frozenset({SignalType.OOM_KILL, SignalType.CRASH_LOOP, SignalType.MEMORY_HIGH})
_BY_SETS = ("Deployment", "Rollout")  # kinds that make ReplicaSets


def pod_template(workload: ResourceRef, obj: JSON) -> JSON:
    """The pod template of a workload; for a pod something like it."""
    if workload.kind == "Pod":
        return {"metadata": mapping(obj, "metadata"), "spec": mapping(obj, "spec")}
    if workload.kind == "CronJob":
        return mapping(obj, "spec", "jobTemplate", "spec", "template")
    return mapping(obj, "spec", "template")


def template_labels(workload: ResourceRef, obj: JSON) -> dict[str, str]:
    return texts(pod_template(workload, obj), "metadata", "labels")


async def read_pods(gathering: Gathering, workload: ResourceRef) -> None:
    """The pods that the workload owns, in one list by its selector, with their owner edges."""
    obj = gathering.find(workload)
    if obj is None or workload.kind in ("Pod", "Node"):
        return
    if workload.kind == "CronJob":
        await _read_jobs(gathering, workload)
        return
    selector = mapping(obj, "spec", "selector")
    query = selectors.query(selector) or selectors.simple_query(
        texts(selector) if workload.kind == "ReplicationController" else template_labels(workload, obj)
    )
    if query:
        keep_pods(gathering, workload, await gathering.listing("Pod", workload.namespace, labels=query))


async def _read_jobs(gathering: Gathering, cron_job: ResourceRef) -> None:
    jobs = [
        job
        for job in await gathering.listing("Job", cron_job.namespace)
        if meta.owner(job) == ("CronJob", cron_job.name)
    ]
    jobs.sort(key=lambda job: text(job, "metadata", "creationTimestamp"), reverse=True)
    names = [meta.name(gathering.keep("Job", job)) for job in jobs[:_JOBS_KEPT]]
    for name in names:
        gathering.connect(cron_job, Relation.OWNS, gathering.ref("Job", cron_job.namespace, name))
    if names:
        query = f"job-name in ({','.join(names)})"
        keep_pods(gathering, cron_job, await gathering.listing("Pod", cron_job.namespace, labels=query))


def keep_pods(gathering: Gathering, workload: ResourceRef, items: list[JSON]) -> None:
    """Keep the workload's own pods, those in trouble first."""
    labels = template_labels(workload, gathering.find(workload) or {})
    own = [pod for pod in items if _belongs(workload, pod) or seems_made_by(workload, labels, pod)]
    own.sort(key=lambda pod: (not _looks_bad(pod), meta.name(pod)))
    for pod in own[:_PODS_KEPT]:
        kept = gathering.keep("Pod", pod)
        ref = meta.ref_of(workload.cluster, "Pod", kept)
        owner = meta.owner(kept)
        if owner is None or (owner == (workload.kind, workload.name)):
            gathering.connect(workload, Relation.OWNS, ref)
            continue
        between = gathering.ref(owner[0], ref.namespace, owner[1])
        gathering.connect(between, Relation.OWNS, ref)
        gathering.connect(workload, Relation.OWNS, between)


def _belongs(workload: ResourceRef, pod: JSON) -> bool:
    """Selectors of two workloads may overlap; owners do not."""
    owner = meta.owner(pod)
    if owner is None:
        return False
    if owner == (workload.kind, workload.name):
        return True
    if workload.kind in _BY_SETS and owner[0] == "ReplicaSet":
        suffix = pods.template_hash(meta.labels(pod))
        base = owner[1].removesuffix(f"-{suffix}") if suffix else owner[1].rpartition("-")[0]
        return base == workload.name
    return workload.kind == "CronJob" and owner[0] == "Job" and owner[1].startswith(f"{workload.name}-")


def seems_made_by(workload: ResourceRef, labels: dict[str, str], pod: JSON) -> bool:
    """Whether a pod without any owner has the labels of the workload's template and a name after its name."""
    named = meta.name(pod).startswith(f"{workload.name}-")
    return named and meta.owner(pod) is None and selectors.equals(labels, meta.labels(pod))


def _looks_bad(pod: JSON) -> bool:
    return not pods.is_finished(pod) and (
        not pods.is_ready(pod) or any(state.restarts for state in pods.container_states(pod))
    )


async def read_history(gathering: Gathering, workload: ResourceRef) -> None:
    """ReplicaSets or ControllerRevisions of the workload, the newest ones."""
    obj = gathering.find(workload)
    kind = {
        "Deployment": "ReplicaSet",
        "Rollout": "ReplicaSet",
        "StatefulSet": "ControllerRevision",
        "DaemonSet": "ControllerRevision",
    }.get(workload.kind)
    if obj is None or kind is None:
        return
    query = selectors.query(mapping(obj, "spec", "selector"))
    items = [
        item
        for item in await gathering.listing(kind, workload.namespace, labels=query)
        if meta.owner(item) == (workload.kind, workload.name)
    ]
    items.sort(key=_revision, reverse=True)
    serving = [item for item in items[_REVISIONS_KEPT:] if number(item, "status", "replicas")]
    for item in items[:_REVISIONS_KEPT] + serving:
        kept = gathering.keep(kind, item)
        gathering.connect(workload, Relation.OWNS, meta.ref_of(workload.cluster, kind, kept))


def _revision(item: JSON) -> int:
    return meta.revision(item) or number(item, "revision")


async def read_configuration(gathering: Gathering, workload: ResourceRef) -> None:
    """ConfigMaps and Secrets that the template reads. Secrets by name only; their values are dropped."""
    spec = mapping(pod_template(workload, gathering.find(workload) or {}), "spec")
    uses = references.config_uses(spec)
    for use in uses:
        relation = Relation.USES_CONFIG if use.kind == "ConfigMap" else Relation.USES_SECRET
        gathering.connect(workload, relation, gathering.ref(use.kind, workload.namespace, use.name))
    config_maps = list(dict.fromkeys(u.name for u in uses if u.kind == "ConfigMap"))
    secrets = list(dict.fromkeys(u.name for u in uses if u.kind == "Secret"))
    needed = {u.name for u in uses if not u.optional}
    if len(config_maps) > _GETS:
        for item in await gathering.listing("ConfigMap", workload.namespace):
            if meta.name(item) in config_maps:
                gathering.keep("ConfigMap", item)
        config_maps = []
    if len(secrets) > _GETS:
        gathering.gap(
            GapReason.CUT,
            f"get secrets in namespace {workload.namespace}",
            f"{len(secrets)} are used, {_GETS} were read",
        )
    reads = [("ConfigMap", name) for name in config_maps] + [("Secret", name) for name in secrets[:_GETS]]
    await asyncio.gather(
        *(gathering.get(kind, workload.namespace, name, required=name in needed) for kind, name in reads)
    )


async def read_logs(gathering: Gathering, workload: ResourceRef, *, most: int = _LOG_REQUESTS) -> None:
    """Logs of the containers that fail, of the run that died before the present one; bounded."""
    own = gathering.pods_of(workload)
    wanted = _log_requests(own, _history(gathering))
    if most == 1:  # the first that has anything to say, and one that serves where that is another
        for pod, container, previous in wanted[:_TRIES]:
            if await gathering.log(pod, container, previous=previous):
                others = [each for each in own if each[0] != pod and pods.is_ready(each[1])]
                if others and previous:
                    await gathering.log(others[0][0], container, previous=False)
                return
        return
    wanted = wanted[:most]

    async def one(pod: ResourceRef, container: str, previous: bool) -> None:
        if not await gathering.log(pod, container, previous=previous) and previous:
            await gathering.log(pod, container, previous=False)

    await asyncio.gather(*(one(*request) for request in wanted))


def _history(gathering: Gathering) -> datetime | None:
    """What ended before is history, unless an alert is about kills and restarts; None where nothing is."""
    told = [signal.started_at for signal in gathering.signals]
    about = {signal.type for signal in gathering.signals} & _ABOUT_CRASHES or any(
        "restart" in signal.name.lower() for signal in gathering.signals
    )
    return min(told) - RECENT if told and not about else None


def _is_history(pod: JSON, state: pods.ContainerState, before: datetime | None) -> bool:
    """Whether its last end is long past, and it has been serving since."""
    ended = state.last.at if state.last is not None else None
    serves = state.ended is None and state.running_since is not None and pods.is_ready(pod)
    return before is not None and ended is not None and ended < before and serves


def _ended_at(state: pods.ContainerState) -> float:
    """When it last ended, in seconds; 0 where that is not known."""
    return state.final.at.timestamp() if state.final is not None and state.final.at is not None else 0.0


def _log_requests(
    own: list[tuple[ResourceRef, JSON]], before: datetime | None = None
) -> list[tuple[ResourceRef, str, bool]]:
    """(pod, container, previous run): one pod of each failing container first, three pods at most. A container
    that has served since it ended `before` that moment does not fail."""
    failing: list[tuple[int, ResourceRef, pods.ContainerState]] = []
    quiet: list[tuple[int, ResourceRef, pods.ContainerState]] = []
    for ref, pod in own:
        if meta.deleting_since(pod) is not None:
            continue
        for state in pods.container_states(pod):
            died = state.waiting == pods.CRASH_LOOP or state.ended is not None or state.last is not None
            finished = state.ended is not None and state.ended.code == 0 and state.ended.reason == "Completed"
            died = died and not _is_history(pod, state, before)
            if died and not (finished and state.restarts == 0):
                failing.append((state.restarts, ref, state))
            elif state.running_since is not None:
                quiet.append((0 if pods.is_ready(pod) else 1, ref, state))
    failing.sort(key=lambda item: (-item[0], -_ended_at(item[2]), item[1].name))
    quiet.sort(key=lambda item: (-item[0], item[1].name))
    requests: list[tuple[ResourceRef, str, bool]] = []
    further: list[tuple[ResourceRef, str, bool]] = []
    seen: set[str] = set()
    for _, ref, state in failing:
        previous = state.last is not None or state.waiting == pods.CRASH_LOOP
        (requests if state.name not in seen else further).append((ref, state.name, previous))
        if previous and state.running_since is not None and state.name not in seen:
            further.insert(0, (ref, state.name, False))
        seen.add(state.name)
    for _, ref, state in quiet:
        if state.name not in seen and sum(1 for _, name, _ in requests if name == state.name) == 0:
            requests.append((ref, state.name, False))
            seen.add(state.name)
        elif not failing:
            further.append((ref, state.name, False))
    chosen: list[tuple[ResourceRef, str, bool]] = []
    for request in requests + further:
        picked = {ref for ref, _, _ in chosen}
        if request[0] in picked or len(picked) < _LOG_PODS:
            chosen.append(request)
    return chosen
