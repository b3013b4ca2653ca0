"""What analyzers ask of a scene: whose trouble it is, which containers fail, what was released when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from cortexops.domain.kubernetes import complaints, hosts, hpa, meta, pods
from cortexops.domain.kubernetes.refusals import refusal
from cortexops.domain.kubernetes.values import mapping, text, texts
from cortexops.domain.recovered import runs_again
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import (
    Link,
    Subject,
    Trouble,
    alerted_at,
    backing,
    means_service,
    seen_until,
    service_ready,
    signal_types,
    top_owner,
)
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
__all__ = [  # asked for here by all that read a scene, wherever they are worked out
    "Link", "Subject", "Trouble", "alerted_at", "backing", "means_service", "seen_until", "service_ready",
    "signal_types", "top_owner",
]  # fmt: skip
NEARLY_CALLED = 0.75
"""Likeness (difflib's ratio) of two names of which one may be a slip of the other."""
_RECENT = timedelta(hours=6)
_RECENT_WHEN_ALERTED = timedelta(days=7)  # an alert about kills refers to a kill, however long ago
_CRASH_SIGNALS = frozenset({SignalType.OOM_KILL, SignalType.CRASH_LOOP, SignalType.MEMORY_HIGH})
_ANSWERS = frozenset({SignalType.ERROR_RATE, SignalType.LATENCY})
_SERVING_SIGNALS = _ANSWERS | {SignalType.OTHER}
_AGAIN_AND_AGAIN = 3  # restarts
_DEEPEST = 4  # calls followed upstream
DNS = ("kube-system", "kube-dns")
"""(namespace, name) of the Service that resolves names for the cluster."""
_BY_ITS_WORDS = 0.95  # the callee looks well, and says that it is not
_LAST_LINES = 30
_WITHOUT_LOGS = 0.85  # how much of the blame stays when the caller's logs could not be read
_BY_ITS_NAME = 0.95  # it is down, and a complaint holds its name, which may be a common word
_UNNAMED = 0.9  # it is down, and the only one that the complaints can mean
_UNNAMED_WELL = 0.8  # it only complains, too


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
    elif target.kind == "Namespace":
        found = topology.out(target, Relation.MEANT_FOR)
    elif target.kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
        found = topology.out(target, Relation.SCALES, Relation.GUARDS)
    elif target.kind in ("ConfigMap", "Secret", "PersistentVolumeClaim"):
        found = topology.into(target, Relation.USES_CONFIG, Relation.USES_SECRET, Relation.MOUNTS)
    else:
        found = []
    return list(dict.fromkeys(found))


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


def blamed_links(scene: Scene, subject: Subject) -> list[Link]:
    """The calls of a troubled workload to Services that do not answer, and that its logs complain about.

    Without any log of it (forbidden, gone) a Service without ready endpoints is blamed all the same, less
    surely. With logs that do not mention it, it is not.
    """
    called = scene.topology.out(subject.ref, Relation.CALLS)
    logs = log_lines(scene, subject)
    loose = {line: pod for pod, _, _, told in logs for line in complaints.complaining(told)}
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
        by_name = not lines and (broken or ill or "-" in service.name)
        if by_name and not any(_ill_for_long(scene, ref) for ref in workloads):
            lines = [line for line in loose if complaints.names(line, service.name)]
            where = loose[lines[0]] if lines else None
        if lines and (broken or ill):
            found.append(Link(service, workloads, tuple(lines), where, _BY_ITS_NAME if by_name else 1.0))
        elif lines and any(own_words(scene, ref) for ref in workloads):
            found.append(Link(service, workloads, tuple(lines), where, _BY_ITS_WORDS))
        elif not logs and broken and is_troubled(scene, subject):
            found.append(Link(service, workloads, (), None, _WITHOUT_LOGS))
    return found or _unnamed(scene, subject, called)


def _unnamed(scene: Scene, subject: Subject, called: Sequence[ResourceRef]) -> list[Link]:
    """The one callee that has gone down lately, where a workload that looks well answers badly and its logs
    tell of a peer without a name, or tell nothing. Two that could be meant are none."""
    if not serves_badly(scene) or is_troubled(scene, subject) or not called_or_may(scene, subject):
        return []
    lines = unnamed_complaints(scene, subject)
    if lines is None or (not lines and not signal_types(scene) & _ANSWERS):
        return []
    down: dict[tuple[ResourceRef, ...], Link] = {}
    wrong: dict[tuple[ResourceRef, ...], Link] = {}
    for service in called_or_may(scene, subject):
        workloads = tuple(ref for ref in backing(scene, service) if ref != subject.ref)
        where = next(
            (pod for pod, _, _, told in log_lines(scene, subject) if lines and lines[0] in told), None
        )
        if any(_is_ill(scene, ref) for ref in workloads) or service_ready(scene, service) == 0:
            if not any(_ill_for_long(scene, ref) for ref in workloads):
                down.setdefault(workloads, Link(service, workloads, tuple(lines), where, _UNNAMED))
        elif service in called and any(
            own_words(scene, ref) and (lines or _misses_one(scene, ref)) for ref in workloads
        ):
            wrong.setdefault(workloads, Link(service, workloads, tuple(lines), where, _UNNAMED_WELL))
    for links in (down, wrong):
        if len(links) == 1:
            return list(links.values())
        if links:
            return []
    return []


def _misses_one(scene: Scene, ref: ResourceRef) -> bool:
    """Whether a workload complains of a Service that has nobody ready."""
    subject = _subject(scene, ref, 0, 1.0)
    told = [line for _, _, _, lines in log_lines(scene, subject) for line in lines]
    return any(
        service_ready(scene, service) == 0 and complaints_about(scene, subject, service, told)
        for service in scene.topology.out(ref, Relation.CALLS)
    )


def called_or_may(scene: Scene, subject: Subject) -> list[ResourceRef]:
    """The Services that a workload calls or, as its complaints name nobody, may call; not DNS."""
    found = scene.topology.out(subject.ref, Relation.CALLS, Relation.MAY_CALL)
    return [ref for ref in dict.fromkeys(found) if (ref.namespace, ref.name) != DNS]


def unnamed_complaints(scene: Scene, subject: Subject) -> list[str] | None:
    """Its complaints about peers, if none of them says which; None when some do, or it complains of itself."""
    lines: list[str] = []
    for _, _, _, told in log_lines(scene, subject):
        handed_on = complaints.of_a_peer(told)
        own = [line for line in told if line not in handed_on]
        if complaints.own_fault(own) or complaints.about_credentials(own) or complaints.saturated(own):
            return None
        lines += [*complaints.unreachable(told), *complaints.answered_badly(told)]
    if any(_names_somebody(scene, host) for line in lines for host in hosts.hosts_in_line(line)):
        return None
    return list(dict.fromkeys(lines))


def _names_somebody(scene: Scene, host: str) -> bool:
    """Whether what was found in a line is a host, and no common word after "connect to"."""
    known = {ref.name for ref, _ in scene.of_kind("Service")}
    return host in known or any(mark in host for mark in ".-") or any(c.isdigit() for c in host)


def _ill_for_long(scene: Scene, ref: ResourceRef) -> bool:
    subject = _subject(scene, ref, 0, 1.0)
    began = failed_before(scene, subject)
    if pods.wanted_replicas(subject.obj) == 0:
        write = meta.writes(subject.obj, "spec", "replicas")
        return write is None or write.at < alerted_at(scene) - _RECENT
    return began is not None and began < alerted_at(scene) - _RECENT


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


def own_words(scene: Scene, ref: ResourceRef) -> tuple[ResourceRef, str, bool, tuple[str, ...]] | None:
    """(pod, container, previous, lines) in which a workload whose pods may be ready says that it fails."""
    for pod, container, previous, lines in log_lines(scene, _subject(scene, ref, 0, 1.0)):
        tail = [line for line in lines[-_LAST_LINES:] if not complaints.of_its_clients([line])]
        wrong = (
            complaints.own_fault,
            complaints.unreachable,
            complaints.of_a_peer,
            complaints.about_credentials,
            complaints.saturated,
        )
        said = next((found for each in wrong if (found := each(tail))), [])
        if said:
            return pod, container, previous, tuple(said)
    return None


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
