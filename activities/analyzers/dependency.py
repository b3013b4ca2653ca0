"""Somebody whom the target calls does not answer: a workload of the cluster, or something outside it."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_replicas, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import (
    Link,
    Subject,
    blamed_links,
    is_troubled,
    log_lines,
    means_service,
    serves_badly,
    service_ready,
    subjects,
)
from cortexops.domain.kubernetes import commands, complaints, hosts, pods
from cortexops.domain.kubernetes.values import text
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_EXPLAINS = (
    Category.CRASH,
    Category.CRASH_SINCE_RELEASE,
    Category.READINESS_PROBE,
    Category.LIVENESS_PROBE,
    Category.BAD_ROLLOUT,
    Category.SERVICE_MISROUTED,
)
OUTSIDE = "ExternalHost"
"""The kind that a host outside the cluster is reported as."""


@analyzer("dependency")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        links = blamed_links(scene, subject)
        for link in links:
            found.append(_inside(scene, book, subject, link))
        if is_troubled(scene, subject) or serves_badly(scene):
            found += _outside(scene, book, subject)
    return found


def _inside(scene: Scene, book: EvidenceBook, subject: Subject, link: Link) -> Hypothesis:
    cause = link.workloads[0] if link.workloads else link.service
    evidence = []
    if link.lines and link.log is not None:
        container, previous = _where(scene, link.log, link.lines[-1])
        evidence.append(
            cite_log(book, link.log, container, previous, link.lines, f"complains about {link.service.name}")
        )
    ready = service_ready(scene, link.service)
    evidence.append(
        book.cite(
            EvidenceKind.TOPOLOGY,
            link.service,
            f"{subject.ref} calls {link.service}, which has {ready if ready is not None else 'unknown'}"
            " ready addresses",
            command=commands.endpoints(link.service),
        )
    )
    workload = scene.get(cause)
    if workload is not None and cause != link.service:
        behind = Subject(cause, workload, ())
        evidence.append(
            cite_replicas(book, behind, pods.ready_replicas(workload), pods.wanted_replicas(workload))
        )
    state = "has no ready pods" if ready == 0 else "is not well"
    direct = 0.95 if ready == 0 else 0.8
    if cause != link.service and workload is not None and _suffers_itself(scene, cause):
        direct = 0.5  # a victim, too: whom it waits for is the likelier cause
    return Hypothesis(
        resource=cause,
        category=Category.DEPENDENCY_DOWN,
        summary=f"{subject.ref} fails because {cause}, which it calls as {link.service.name}, {state}",
        support=support(subject, direct * link.weight, steps=2),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"service": link.service.name, "host": link.service.name},
    )


def _suffers_itself(scene: Scene, ref: ResourceRef) -> bool:
    """Whether the callee, in its turn, complains about somebody that does not answer."""
    for subject in subjects(scene):
        if subject.ref == ref:
            return bool(blamed_links(scene, subject)) or bool(_outside_hosts(scene, subject))
    return False


def _where(scene: Scene, pod: ResourceRef, line: str) -> tuple[str, bool]:
    for log in scene.logs:
        if log.pod == pod and line in log.lines:
            return log.container, log.previous
    return "", False


def _outside(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    """Hosts that are no Service of this cluster and that the complaints of the failing pods name."""
    found = []
    for host, (pod, container, previous, lines) in _outside_hosts(scene, subject).items():
        evidence = [cite_log(book, pod, container, previous, lines, f"complains about {host}")]
        crashing = any(pods.is_unready(obj) for ref, obj in subject.pods if ref == pod)
        found.append(
            Hypothesis(
                resource=scene.ref(OUTSIDE, "", host),
                category=Category.EXTERNAL_DEPENDENCY,
                summary=f"{subject.ref} cannot reach {host}, which is outside the cluster: the origin of the"
                " trouble is there, or on the way there, and cannot be seen from here",
                support=support(subject, 0.9 if crashing or len(lines) > 1 else 0.75),
                evidence=tuple(evidence),
                explains=_EXPLAINS,
                container=container,
                facts={"host": host},
            )
        )
    return found


def _outside_hosts(scene: Scene, subject: Subject) -> dict[str, tuple[ResourceRef, str, bool, list[str]]]:
    """Outside host → (pod, container, previous run, lines) of the complaints about it."""
    services = [ref for ref, _ in scene.of_kind("Service")]
    named: dict[str, tuple[ResourceRef, str, bool, list[str]]] = {}
    for pod, container, previous, written in log_lines(scene, subject):
        said = (complaints.unreachable, complaints.answered_badly, complaints.about_certificates)
        for line in dict.fromkeys(line for each in said for line in each(written)):
            for host in hosts.hosts_in_line(line):
                alias = _alias(scene, subject, host)
                if alias or (
                    hosts.is_external(host)
                    and not any(means_service(scene, host, s, subject.ref.namespace) for s in services)
                ):
                    named.setdefault(alias or host, (pod, container, previous, []))[3].append(line)
    return named


def _alias(scene: Scene, subject: Subject, host: str) -> str:
    """The outside host behind a Service of type ExternalName."""
    for service in scene.topology.out(subject.ref, Relation.CALLS):
        spec = (scene.get(service) or {}).get("spec")
        if text(spec, "type") == "ExternalName" and means_service(
            scene, host, service, subject.ref.namespace
        ):
            return text(spec, "externalName")
    return ""
