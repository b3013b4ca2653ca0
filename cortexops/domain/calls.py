"""Calls that do not go well: whom a workload's complaints mean, named or not, and who of them says so itself."""

from __future__ import annotations

from collections.abc import Sequence

from cortexops.domain.kubernetes import complaints, delivery, hosts, hpa, meta, pods
from cortexops.domain.kubernetes.refusals import refusal
from cortexops.domain.relayed import asked_by_path, echoes, short_name
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import (
    Link,
    Subject,
    alerted_at,
    backing,
    line_names,
    service_ready,
    signal_types,
)
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import (
    ANSWERS,
    RECENT,
    failed_before,
    is_troubled,
    log_lines,
    serves_badly,
    subject_of,
    troubles,
)

DNS = ("kube-system", "kube-dns")
"""(namespace, name) of the Service that resolves names for the cluster."""
_BY_ITS_WORDS = 0.95  # the callee looks well, and says that it is not
_LAST_LINES = 30
_SEVERAL = 3  # lines
_WITHOUT_LOGS = 0.85  # how much of the blame stays when the caller's logs could not be read
_BY_ITS_NAME = 0.95  # it is down, and a complaint holds its name, which may be a common word
_UNNAMED = 0.9  # it is down, and the only one that the complaints can mean
_UNNAMED_WELL = 0.8  # it only complains, too


def blamed_links(scene: Scene, subject: Subject) -> list[Link]:
    """The calls of a troubled workload to Services that do not answer, and that its logs complain about.

    Without any log of it (forbidden, gone) a Service without ready endpoints is blamed all the same, less
    surely. With logs that do not mention it, it is not.
    """
    called = scene.topology.out(subject.ref, Relation.CALLS)
    logs = log_lines(scene, subject)
    loose = {line: pod for pod, _, _, told in logs for line in complaints.complaining(told)}
    by_path = {line: asked_by_path(line, [service.name for service in called]) for line in loose}
    found: list[Link] = []
    for service in called:
        behind = backing(scene, service)
        if behind == [subject.ref]:
            continue  # that it does not reach itself is no reason
        workloads = tuple(ref for ref in behind if ref != subject.ref)
        lines: list[str] = []
        where: ResourceRef | None = None
        for pod, _, _, text_lines in logs:
            for line in complaints_about(scene, subject, service, text_lines):
                lines.append(line)
                where = where or pod
        if not lines and service in cluster_services(scene, subject):
            lines = [cluster_services(scene, subject)[service]]
        if not lines:
            lines = [line for line in loose if by_path[line] == service.name]
            lines = lines or _handed_on(scene, list(loose), workloads)
            where = loose[lines[0]] if lines else None
        broken = service_ready(scene, service) == 0
        ill = any(_is_ill(scene, ref) for ref in workloads)
        by_name = not lines and (broken or ill or "-" in service.name)
        if by_name and not any(_ill_for_long(scene, ref) for ref in workloads):
            spoken = short_name(subject.ref.name, service.name)
            lines = [line for line in loose if complaints.names(line, service.name)]
            lines = lines or [line for line in loose if complaints.names(line, spoken)]
            where = loose[lines[0]] if lines else None
        if lines and (broken or ill):
            found.append(Link(service, workloads, tuple(lines), where, _BY_ITS_NAME if by_name else 1.0))
        elif lines and any(own_words(scene, ref) for ref in workloads):
            found.append(Link(service, workloads, tuple(lines), where, _BY_ITS_WORDS))
        elif not logs and broken and is_troubled(scene, subject):
            found.append(Link(service, workloads, (), None, _WITHOUT_LOGS))
    return found or _unnamed(scene, subject, called)


def _handed_on(scene: Scene, said: Sequence[str], workloads: Sequence[ResourceRef]) -> list[str]:
    """The complaints that are in the words of a callee."""
    for ref in workloads:
        for _, _, _, told in log_lines(scene, subject_of(scene, ref)):
            if found := echoes(said, told[-_LAST_LINES:]):
                return found
    return []


def _unnamed(scene: Scene, subject: Subject, called: Sequence[ResourceRef]) -> list[Link]:
    """The one callee that has gone down lately, where a workload that looks well answers badly and its logs
    tell of a peer without a name, or tell nothing. Two that could be meant are none."""
    if not serves_badly(scene) or is_troubled(scene, subject) or not called_or_may(scene, subject):
        return []
    lines = unnamed_complaints(scene, subject)
    if lines is None or (not lines and not signal_types(scene) & ANSWERS):
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
            own_words(scene, ref) and (lines or _misses_one(scene, ref) or keeps_failing(scene, ref))
            for ref in workloads
        ):
            sure = any(keeps_failing(scene, ref) for ref in workloads)
            weight = _UNNAMED if sure else _UNNAMED_WELL
            wrong.setdefault(workloads, Link(service, workloads, tuple(lines), where, weight))
    for links in (down, wrong):
        if len(links) == 1:
            return list(links.values())
        if links:
            return []
    return []


def keeps_failing(scene: Scene, ref: ResourceRef) -> bool:
    """Whether a good part of what a workload wrote lately are failures, not one among much else."""
    for _, _, _, lines in log_lines(scene, subject_of(scene, ref)):
        tail = [line for line in lines[-_LAST_LINES:] if not complaints.of_its_clients([line])]
        if complaints.disk_full(tail) or complaints.refused_by_store(tail):
            return True  # one such line is enough
        wrong = {
            *complaints.own_fault(tail), *complaints.unreachable(tail), *complaints.answered_badly(tail),
            *complaints.about_credentials(tail), *complaints.saturated(tail), *complaints.forbidden(tail),
        }  # fmt: skip
        if len([line for line in tail if line in wrong]) >= max(_SEVERAL, len(tail) // 8):
            return True
    return False


def _misses_one(scene: Scene, ref: ResourceRef) -> bool:
    """Whether a workload complains of a Service that has nobody ready."""
    subject = subject_of(scene, ref)
    told = [line for _, _, _, lines in log_lines(scene, subject) for line in lines]
    return any(
        service_ready(scene, service) == 0 and complaints_about(scene, subject, service, told)
        for service in scene.topology.out(ref, Relation.CALLS)
    )


def called_or_may(scene: Scene, subject: Subject) -> list[ResourceRef]:
    """The Services that a workload calls or, as its complaints name nobody, may call; not DNS, and not those
    that it only reports to."""
    found = scene.topology.out(subject.ref, Relation.CALLS, Relation.MAY_CALL)
    return [
        ref
        for ref in dict.fromkeys(found)
        if (ref.namespace, ref.name) != DNS and not hosts.takes_telemetry(ref.name)
    ]


def unnamed_complaints(scene: Scene, subject: Subject) -> list[str] | None:
    """Its complaints about peers, if none of them says which; None when some do, or it complains of itself."""
    lines: list[str] = []
    for _, _, _, told in log_lines(scene, subject):
        handed_on = complaints.of_a_peer(told)
        own = [line for line in told if line not in handed_on]
        if complaints.own_fault(told) or complaints.about_credentials(own) or complaints.saturated(own):
            return None
        lines += [*complaints.unreachable(told), *complaints.answered_badly(told)]
    if any(_names_somebody(scene, host) for line in lines for host in hosts.hosts_in_line(line)):
        return None
    return list(dict.fromkeys(lines))


def _names_somebody(scene: Scene, host: str) -> bool:
    """Whether what was found in a line is a host, and no common word after "connect to"."""
    known = {ref.name for ref, _ in scene.of_kind("Service")}
    return host in known or any(mark in host for mark in ".-") or any(c.isdigit() for c in host)


def ill_lately(scene: Scene, ref: ResourceRef) -> bool:
    """Whether a workload is short of ready pods or fails again and again, and nothing shows that it is so for long."""
    return _is_ill(scene, ref) and not _ill_for_long(scene, ref)


def _ill_for_long(scene: Scene, ref: ResourceRef) -> bool:
    subject = subject_of(scene, ref)
    began = failed_before(scene, subject)
    if pods.wanted_replicas(subject.obj) == 0:
        write = meta.writes(subject.obj, "spec", "replicas")
        return write is None or write.at < alerted_at(scene) - RECENT
    return began is not None and began < alerted_at(scene) - RECENT


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
        if (
            line_names(scene, whole.get(line, line), service, subject.ref.namespace)
            or complaints.names(line, service.name)
            or complaints.names(line, short_name(subject.ref.name, service.name))
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
    if not is_troubled(scene, subject):  # then what delivers it may be what the alert is about
        said += [
            failed.message
            for ref in scene.topology.into(subject.ref, Relation.ACTS_ON)
            if ref.kind in delivery.KINDS
            and (failed := delivery.failure(ref.kind, scene.get(ref) or {})) is not None
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
    for pod, container, previous, lines in log_lines(scene, subject_of(scene, ref)):
        tail = lines[-_LAST_LINES:]
        clients = set(complaints.of_its_clients(tail))
        wrong = (
            complaints.own_fault,
            complaints.unreachable,
            complaints.of_a_peer,
            complaints.about_credentials,
            complaints.saturated,
            complaints.disk_full,
            complaints.refused_by_store,
            complaints.forbidden,
        )
        told = ([line for line in each(tail) if line not in clients] for each in wrong)
        said = next((found for found in told if found), [])
        if said:
            return pod, container, previous, tuple(said)
    return None


def _is_ill(scene: Scene, ref: ResourceRef) -> bool:
    subject = subject_of(scene, ref)
    wanted, ready = pods.wanted_replicas(subject.obj), pods.ready_replicas(subject.obj)
    return (bool(subject.obj) and ready < max(wanted, 1)) or any(troubles(scene, subject))
