"""What of a workload fails: its containers, its pods, and since when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import text
from cortexops.domain.recovered import runs_again
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import Subject, Trouble, alerted_at, signal_types
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation
from cortexops.domain.warming import is_warming_up

RECENT = timedelta(hours=6)
_RECENT_WHEN_ALERTED = timedelta(days=7)  # an alert about kills refers to a kill, however long ago
_CRASH_SIGNALS = frozenset({SignalType.OOM_KILL, SignalType.CRASH_LOOP, SignalType.MEMORY_HIGH})
_AGAIN_AND_AGAIN = 3  # restarts
ANSWERS = frozenset({SignalType.ERROR_RATE, SignalType.LATENCY})
_SERVING_SIGNALS = ANSWERS | {SignalType.OTHER}


def subject_of(scene: Scene, ref: ResourceRef, distance: int = 0, weight: float = 1.0) -> Subject:
    """The workload as the scene shows it."""
    return Subject(ref, scene.get(ref) or {}, tuple(scene.pods_of(ref)), distance, weight)


def log_lines(scene: Scene, subject: Subject) -> list[tuple[ResourceRef, str, bool, tuple[str, ...]]]:
    """(pod, container, previous, lines) of all logs of the subject's pods, the runs that died first.

    What a run said that has long been followed by a good one is history, and left out.
    """
    own = dict(subject.pods)
    past = {
        (ref, state.name)
        for ref in {log.pod for log in scene.logs if log.previous} & set(own)
        for state in pods.container_states(own[ref])
        if runs_again(scene, ref, state, alerted_at(scene))
    }
    found = [
        (log.pod, log.container, log.previous, log.lines)
        for log in scene.logs
        if log.pod in own and not (log.previous and (log.pod, log.container) in past)
    ]
    return sorted(found, key=lambda item: (not item[2], item[0].name, item[1]))


def is_troubled(scene: Scene, subject: Subject) -> bool:
    """Whether something is visibly wrong with the workload's own pods or replicas."""
    unready = [(ref, pod) for ref, pod in subject.pods if pods.is_unready(pod)]
    young = [ref for ref, pod in unready if is_warming_up(scene, ref, pod)]
    if any(troubles(scene, subject)) or len(young) < len(unready):
        return True
    if subject.ref.kind == "Job" and meta.condition(subject.obj, "Failed").status == "True":
        return True
    if not subject.obj or subject.ref.kind not in ("Deployment", "Rollout", "StatefulSet", "DaemonSet"):
        return False
    return pods.ready_replicas(subject.obj) + len(young) < pods.wanted_replicas(subject.obj)


def serves_badly(scene: Scene) -> bool:
    """Whether a signal says that the target answers badly though its pods may look well."""
    return bool(signal_types(scene) & _SERVING_SIGNALS)


def troubles(scene: Scene, subject: Subject) -> Iterator[Trouble]:
    """Containers that fail now, or failed around the alert.

    One that is ready again counts when the alert is about crashes, or when it fails again and again.
    """
    if has_finished(scene, subject):
        return
    asked = bool(signal_types(scene) & _CRASH_SIGNALS) or any(
        "restart" in signal.name.lower() for signal in scene.signals
    )
    since = alerted_at(scene) - (_RECENT_WHEN_ALERTED if asked else RECENT)
    if scene.clocks_apart:
        since = datetime.min.replace(tzinfo=UTC)
    for ref, pod in subject.pods:
        if pods.is_finished(pod) or meta.deleting_since(pod) is not None:
            continue
        for state in pods.container_states(pod):
            recovered = state.ready and state.running_since is not None and state.ended is None
            if recovered and not asked and (scene.clocks_apart or state.restarts < _AGAIN_AND_AGAIN):
                continue
            if recovered and runs_again(scene, ref, state, alerted_at(scene)):
                continue
            if _fails(state, since):
                yield Trouble(subject, ref, pod, state)


def has_finished(scene: Scene, subject: Subject) -> bool:
    """A Job that completed: attempts of it that failed before are history. Of a CronJob, its newest Job."""
    if subject.ref.kind == "Job":
        return meta.condition(subject.obj, "Complete").status == "True"
    if subject.ref.kind != "CronJob":
        return False
    owned = [
        scene.get(ref) or {} for ref in scene.topology.out(subject.ref, Relation.OWNS) if ref.kind == "Job"
    ]
    newest = max(owned, key=lambda job: text(job, "metadata", "creationTimestamp"), default={})
    return meta.condition(newest, "Complete").status == "True"


def _fails(state: pods.ContainerState, since: datetime) -> bool:
    if state.waiting in pods.BAD_WAITING:
        return True
    if state.ended is not None:
        return state.ended.code not in (0, -1) or state.ended.out_of_memory
    last = state.last
    if last is None or (state.init and state.ready):
        return False
    recent = last.at is None or last.at >= since
    return recent and (last.code not in (0, -1) or last.out_of_memory)


def failed_before(scene: Scene, subject: Subject) -> datetime | None:
    """The earliest sign of trouble that the subject's statuses and events still show."""
    times: list[datetime | None] = []
    for trouble in troubles(scene, subject):
        final = trouble.state.final
        times.append(final.at if final else None)
        times.append(meta.condition(trouble.obj, "Ready").since)
        times += [e.first for e in scene.events_about(trouble.pod, "BackOff", "OOMKilling", "Failed")]
    for _, pod in subject.pods:
        if pods.is_unready(pod) and meta.condition(pod, "Ready").status == "False":
            times.append(meta.condition(pod, "Ready").since)
    return min((time for time in times if time is not None), default=None)
