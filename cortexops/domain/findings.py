"""What analyzers ask of a scene: whose trouble it is, which containers fail, what was released when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cortexops.domain.kubernetes import complaints, hosts, hpa, meta, pods
from cortexops.domain.kubernetes.refusals import refusal
from cortexops.domain.kubernetes.values import mapping, objects, text, texts
from cortexops.domain.recovered import runs_again
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation

WORKLOADS = (
    "Deployment",
    "Rollout",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "ReplicaSet",
    "ReplicationController",
)
NEARLY_CALLED = 0.75
"""Likeness (difflib's ratio) of two names of which one may be a slip of the other."""
_RECENT = timedelta(hours=6)
_RECENT_WHEN_ALERTED = timedelta(days=7)  # an alert about kills refers to a kill, however long ago
_CRASH_SIGNALS = frozenset({SignalType.OOM_KILL, SignalType.CRASH_LOOP, SignalType.MEMORY_HIGH})
_SERVING_SIGNALS = frozenset({SignalType.ERROR_RATE, SignalType.LATENCY, SignalType.OTHER})
_AGAIN_AND_AGAIN = 3  # restarts
_DEEPEST = 3  # calls followed upstream
DNS = ("kube-system", "kube-dns")
"""(namespace, name) of the Service that resolves names for the cluster."""
_BY_ITS_WORDS = 0.95  # the callee looks well, and says that it is not
_LAST_LINES = 30
_WITHOUT_LOGS = 0.85  # how much of the blame stays when the caller's logs could not be read


class Subject(NamedTuple):
    """A workload that may be the cause: the target's own, or one upstream that the target complains about.

    `weight` (0–1) is how sure it is that its trouble is the target's; `distance` counts topology steps.
    """

    ref: ResourceRef
    obj: JSON
    pods: tuple[tuple[ResourceRef, JSON], ...]
    distance: int = 0
    weight: float = 1.0

    @property
    def upstream(self) -> bool:
        return self.distance > 1


class Trouble(NamedTuple):
    """One container that does not do its work."""

    subject: Subject
    pod: ResourceRef
    obj: JSON
    state: pods.ContainerState


class Link(NamedTuple):
    """A call from a workload to a Service, and what speaks for its being the way the trouble came."""

    service: ResourceRef
    workloads: tuple[ResourceRef, ...]
    lines: tuple[str, ...]
    log: ResourceRef | None
    weight: float


def alerted_at(scene: Scene) -> datetime:
    """When the first signal fired; the investigation's moment when there was none. Never the wall clock."""
    if scene.clocks_apart and scene.newest_write is not None:
        return max(scene.told_at, scene.newest_write)
    return scene.told_at


def seen_until(scene: Scene) -> datetime:
    """The latest moment that anything in the scene speaks of: "now" as the cluster showed itself.

    Alerts are looked into long after, too; the wall clock then says nothing about how long a thing has hung.
    """
    times = [alerted_at(scene)]
    times += [event.last for event in scene.events if event.last is not None]
    for _, pod in scene.of_kind("Pod"):
        ready = meta.condition(pod, "Ready").since
        times += [ready] if ready is not None else []
        for state in pods.container_states(pod):
            marks = (state.running_since, state.final.at if state.final else None)
            times += [mark for mark in marks if mark is not None]
    return min(max(times), max(scene.now, alerted_at(scene)))


def signal_types(scene: Scene) -> set[SignalType]:
    return {signal.type for signal in scene.signals}


def top_owner(scene: Scene, ref: ResourceRef) -> ResourceRef:
    """The highest known owner, the object itself when it has none."""
    seen = {ref}
    while True:
        above = [o for o in scene.topology.into(ref, Relation.OWNS) if o not in seen]
        if not above:
            return ref
        ref = above[0]
        seen.add(ref)


def roots(scene: Scene) -> list[ResourceRef]:
    """The workloads that the target stands for."""
    topology, target = scene.topology, scene.target
    if target.kind in (*WORKLOADS, "Pod"):
        found = [top_owner(scene, target)]
    elif target.kind == "Service":
        found = backing(scene, target) or topology.out(target, Relation.MEANT_FOR)
    elif target.kind in ("Ingress", "HTTPRoute", "Gateway"):
        services = topology.out(target, Relation.ROUTES_TO)
        if target.kind == "Gateway":
            services = [
                ref
                for route, _ in scene.of_kind("HTTPRoute")
                for ref in topology.out(route, Relation.ROUTES_TO)
            ]
        found = [workload for service in services for workload in backing(scene, service)]
        found += [w for service in services for w in topology.out(service, Relation.MEANT_FOR)]
    elif target.kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
        found = topology.out(target, Relation.SCALES, Relation.GUARDS)
    elif target.kind in ("ConfigMap", "Secret", "PersistentVolumeClaim"):
        found = topology.into(target, Relation.USES_CONFIG, Relation.USES_SECRET, Relation.MOUNTS)
    else:
        found = []
    return list(dict.fromkeys(found))


def backing(scene: Scene, service: ResourceRef) -> list[ResourceRef]:
    """The workloads whose pods a Service selects, by their pods or by their template."""
    selected = scene.topology.out(service, Relation.SELECTS)
    return list(dict.fromkeys(top_owner(scene, ref) for ref in selected))


def _subject(scene: Scene, ref: ResourceRef, distance: int, weight: float) -> Subject:
    return Subject(ref, scene.get(ref) or {}, tuple(scene.pods_of(ref)), distance, weight)


def subjects(scene: Scene) -> list[Subject]:
    """The target's workloads, then those upstream that its trouble leads to. Bystanders are not among them."""
    found = {ref: _subject(scene, ref, 0, 1.0) for ref in roots(scene)}
    frontier = list(found.values())
    for depth in range(1, _DEEPEST + 1):
        further = []
        for subject in frontier:
            for link in blamed_links(scene, subject):
                for ref in link.workloads:
                    if ref not in found:
                        found[ref] = _subject(scene, ref, 2 * depth, round(subject.weight * link.weight, 3))
                        further.append(found[ref])
        frontier = further
    return list(found.values())


def own_subjects(scene: Scene) -> list[Subject]:
    """Only the target's own workloads."""
    return [_subject(scene, ref, 0, 1.0) for ref in roots(scene)]


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


def service_ready(scene: Scene, service: ResourceRef) -> int | None:
    """How many ready addresses a Service has; None when that is not known."""
    slices = [
        obj
        for ref, obj in scene.of_kind("EndpointSlice")
        if ref.namespace == service.namespace
        and meta.labels(obj).get("kubernetes.io/service-name") == service.name
    ]
    if slices:
        return sum(
            mapping(endpoint, "conditions").get("ready") is not False
            for obj in slices
            for endpoint in objects(obj, "endpoints")
        )
    endpoints = scene.get(scene.ref("Endpoints", service.namespace, service.name))
    if endpoints is not None:
        return sum(len(objects(part, "addresses")) for part in objects(endpoints, "subsets"))
    workloads = [scene.get(ref) for ref in backing(scene, service)]
    known = [workload for workload in workloads if workload is not None]
    return sum(pods.ready_replicas(workload) for workload in known) if known else None


def means_service(scene: Scene, host: str, service: ResourceRef, caller_namespace: str) -> bool:
    """Whether a host name or address in a line is that Service."""
    if hosts.service_address(host, caller_namespace) == (service.namespace, service.name):
        return True
    spec = mapping(scene.get(service) or {}, "spec")
    return host in (text(spec, "clusterIP"), text(spec, "externalName")) and host not in ("", "None")


def blamed_links(scene: Scene, subject: Subject) -> list[Link]:
    """The calls of a troubled workload to Services that do not answer, and that its logs complain about.

    Without any log of it (forbidden, gone) a Service without ready endpoints is blamed all the same, less
    surely. With logs that do not mention it, it is not.
    """
    called = scene.topology.out(subject.ref, Relation.CALLS)
    logs = log_lines(scene, subject)
    found: list[Link] = []
    for service in called:
        workloads = tuple(ref for ref in backing(scene, service) if ref != subject.ref)
        lines: list[str] = []
        where: ResourceRef | None = None
        for pod, _, _, text_lines in logs:
            for line in complaints_about(scene, subject, service, text_lines):
                lines.append(line)
                where = where or pod
        if not lines and service in cluster_services(scene, subject):
            lines = [cluster_services(scene, subject)[service]]
        broken = service_ready(scene, service) == 0
        ill = any(_is_ill(scene, ref) for ref in workloads)
        if lines and (broken or ill):
            found.append(Link(service, workloads, tuple(lines), where, 1.0))
        elif lines and any(_misbehaves(scene, ref) for ref in workloads):
            found.append(Link(service, workloads, tuple(lines), where, _BY_ITS_WORDS))
        elif not logs and broken and is_troubled(scene, subject):
            found.append(Link(service, workloads, (), None, _WITHOUT_LOGS))
    return found


def complaints_about(scene: Scene, subject: Subject, service: ResourceRef, lines: Sequence[str]) -> list[str]:
    """The lines in which the subject complains that this Service does not answer, or waits for it."""
    if (service.namespace, service.name) == DNS:
        return complaints.resolving(lines)
    found = []
    whole = complaints.spoken_of(lines)
    for line in [
        *complaints.unreachable(lines),
        *complaints.waiting_for(lines),
        *complaints.answered_badly(lines),
    ]:
        named = hosts.hosts_in_line(whole.get(line, line))
        if any(means_service(scene, host, service, subject.ref.namespace) for host in named) or (
            complaints.names(line, service.name)
        ):
            found.append(line)
    return list(dict.fromkeys(found))


def cluster_services(scene: Scene, subject: Subject) -> dict[ResourceRef, str]:
    """Services that controllers need on the subject's behalf and do not reach, with their words."""
    found: dict[ResourceRef, str] = {}
    said = [
        meta.condition(scene.get(ref) or {}, "ReplicaFailure").message for ref in _with_sets(scene, subject)
    ]
    said += [
        e.message
        for e in scene.events
        if e.reason == "FailedCreate" and e.about in _with_sets(scene, subject)
    ]
    for message in said:
        its = refusal(message)
        if its.service is not None:
            found.setdefault(scene.ref("Service", *its.service), message)
    for ref in scene.topology.into(subject.ref, Relation.SCALES):
        scaler = scene.get(ref) or {}
        group = hpa.unanswered_group(scaler)
        serving = hpa.metrics_service(group, (obj for _, obj in scene.of_kind("APIService")))
        if serving is not None:
            found.setdefault(scene.ref("Service", *serving), hpa.condition(scaler, "ScalingActive").message)
    return found


def _with_sets(scene: Scene, subject: Subject) -> list[ResourceRef]:
    return [subject.ref, *(ref for ref in scene.topology.out(subject.ref, Relation.OWNS))]


def _misbehaves(scene: Scene, ref: ResourceRef) -> bool:
    """Whether a workload whose pods may be ready says that it fails."""
    for _, _, _, lines in log_lines(scene, _subject(scene, ref, 0, 1.0)):
        tail = [line for line in lines[-_LAST_LINES:] if not complaints.of_its_clients([line])]
        wrong = (
            complaints.own_fault,
            complaints.unreachable,
            complaints.about_credentials,
            complaints.saturated,
        )
        if any(each(tail) for each in wrong):
            return True
    return False


def _is_ill(scene: Scene, ref: ResourceRef) -> bool:
    subject = _subject(scene, ref, 0, 1.0)
    wanted, ready = pods.wanted_replicas(subject.obj), pods.ready_replicas(subject.obj)
    return (bool(subject.obj) and ready < max(wanted, 1)) or any(troubles(scene, subject))


def is_troubled(scene: Scene, subject: Subject) -> bool:
    """Whether something is visibly wrong with the workload's own pods or replicas."""
    if any(troubles(scene, subject)) or any(pods.is_unready(pod) for _, pod in subject.pods):
        return True
    if subject.ref.kind == "Job" and meta.condition(subject.obj, "Failed").status == "True":
        return True
    if not subject.obj or subject.ref.kind not in ("Deployment", "Rollout", "StatefulSet", "DaemonSet"):
        return False
    return pods.ready_replicas(subject.obj) < pods.wanted_replicas(subject.obj)


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
    since = alerted_at(scene) - (_RECENT_WHEN_ALERTED if asked else _RECENT)
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


def config_data(scene: Scene, namespace: str, name: str) -> dict[str, str]:
    """The values of a ConfigMap as collected."""
    return texts(scene.get(scene.ref("ConfigMap", namespace, name)) or {}, "data")


def template_spec(subject: Subject) -> JSON:
    """The pod spec that the workload runs; the pod's own when there is no workload."""
    if subject.ref.kind == "Pod":
        return mapping(subject.obj, "spec")
    if subject.ref.kind == "CronJob":
        return mapping(subject.obj, "spec", "jobTemplate", "spec", "template", "spec")
    found = mapping(subject.obj, "spec", "template", "spec")
    return found or (mapping(subject.pods[0][1], "spec") if subject.pods else {})


def template_labels(scene: Scene, ref: ResourceRef) -> dict[str, str]:
    """The labels of a workload's pods."""
    obj = scene.get(ref) or {}
    if ref.kind == "Pod":
        return meta.labels(obj)
    if ref.kind == "CronJob":
        return texts(obj, "spec", "jobTemplate", "spec", "template", "metadata", "labels")
    return texts(obj, "spec", "template", "metadata", "labels")
