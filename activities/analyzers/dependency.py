"""Somebody whom the target calls does not answer: a workload of the cluster, or something outside it."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_replicas, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import (
    DNS,
    Link,
    Subject,
    backing,
    blamed_links,
    is_troubled,
    log_lines,
    means_service,
    own_words,
    serves_badly,
    service_ready,
    subjects,
)
from cortexops.domain.kubernetes import commands, complaints, hosts, last_words, locks, pods
from cortexops.domain.kubernetes.contracts import limited
from cortexops.domain.kubernetes.values import objects, text, words
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
    Category.INIT_CONTAINER_FAILED,
    Category.JOB_FAILED,
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
        evidence.append(cite_log(book, link.log, container, previous, link.lines, _about(link)))
    ready = service_ready(scene, link.service)
    calls = (
        "calls"
        if link.service in scene.topology.out(subject.ref, Relation.CALLS)
        else "complains of a peer that it does not name; the only one beside it that went down is"
    )
    evidence.append(
        book.cite(
            EvidenceKind.TOPOLOGY,
            link.service,
            f"{subject.ref} {calls} {link.service}, which has {ready if ready is not None else 'unknown'}"
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
    said = own_words(scene, cause) if ready and cause != link.service else None
    state = "has no ready pods" if ready == 0 else "is not well"
    if said is not None:
        evidence.append(cite_log(book, *said[:3], said[3], "complains"))
        state += f": “{last_words.telling(said[3])}”"
    direct = 0.95 if ready == 0 else 0.8
    if cause != link.service and workload is not None and _suffers_itself(scene, cause):
        direct = 0.5  # a victim, too: whom it waits for is the likelier cause
    return Hypothesis(
        resource=cause,
        category=Category.DEPENDENCY_DOWN,
        summary=f"{subject.ref} fails because {cause}, which it {'calls' if calls == 'calls' else 'may call'} as"
        f" {link.service.name}, {state}",
        support=support(subject, direct * link.weight, steps=2),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"service": link.service.name, "host": link.service.name},
    )


def _about(link: Link) -> str:
    named = any(link.service.name in line.lower() for line in link.lines)
    return f"complains about {link.service.name}" if named else "complains of a peer"


def _suffers_itself(scene: Scene, ref: ResourceRef) -> bool:
    """Whether the callee, in its turn, complains about somebody that does not answer."""
    for subject in subjects(scene):
        if subject.ref == ref:
            said = own_words(scene, ref)
            if said and (locks.contended(said[3]) or locks.gave_up(said[3])):
                return True  # it waits for its database
            asked = {host for line in (said[3] if said else ()) for host in hosts.hosts_in_line(line)}
            called = scene.topology.out(ref, Relation.CALLS)
            named = any(means_service(scene, host, each, ref.namespace) for each in called for host in asked)
            return named or bool(blamed_links(scene, subject)) or bool(_outside_hosts(scene, subject))
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
        does = "gets errors from" if complaints.answered_badly(lines) else "cannot reach"
        if limited(lines):
            does = "is told to ask less often (429, too many requests: a rate limit or a quota) by"
        if complaints.about_certificates(lines):
            does = "does not trust the certificate of"
        crashing = any(pods.is_unready(obj) for ref, obj in subject.pods if ref == pod)
        found.append(
            Hypothesis(
                resource=scene.ref(OUTSIDE, "", host),
                category=Category.EXTERNAL_DEPENDENCY,
                summary=f"{subject.ref} {does} {host}, which is outside the cluster: the origin of the"
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
    doubtful, fronts = _dns_in_doubt(scene, subject), _served_here(scene)
    named: dict[str, tuple[ResourceRef, str, bool, list[str]]] = {}
    for pod, container, previous, written in log_lines(scene, subject):
        said = (complaints.unreachable, complaints.answered_badly, complaints.about_certificates)
        whole, lost = complaints.spoken_of(written), set(complaints.resolving(written))
        for line in dict.fromkeys(line for each in said for line in each(written)):
            asked = hosts.hosts_in_line(whole[line])
            if line in lost and _resolves_names(scene, subject):
                asked = hosts.resolver_in_line(line)  # whom it forwards to, not the name that was asked for
                named.update(
                    {host: (pod, container, previous, [line]) for host in asked if host not in named}
                )
                continue
            if line in lost and doubtful:
                continue  # that is about DNS, not about the host that was asked for
            for host in asked:
                alias = _alias(scene, subject, host)
                if alias or (
                    hosts.is_external(host)
                    and host not in fronts
                    and not any(means_service(scene, host, s, subject.ref.namespace) for s in services)
                ):
                    named.setdefault(alias or host, (pod, container, previous, []))[3].append(line)
    return named


def _resolves_names(scene: Scene, subject: Subject) -> bool:
    """Whether the subject is the cluster's DNS server."""
    return any(
        subject.ref in backing(scene, service)
        for service, _ in scene.of_kind("Service")
        if (service.namespace, service.name) == DNS
    )


def _served_here(scene: Scene) -> set[str]:
    """Host names under which this cluster is itself reached; a line may hold the one that a client asked for."""
    rules = [rule for _, live in scene.of_kind("Ingress") for rule in objects(live, "spec", "rules")]
    found = {text(rule, "host").lower() for rule in rules}
    for _, route in scene.of_kind("HTTPRoute"):
        found |= {name.lower() for name in words(route, "spec", "hostnames")}
    return found


def _dns_in_doubt(scene: Scene, subject: Subject) -> bool:
    """Whether the subject's lookups fail and the cluster's DNS server is not well."""
    return any((link.service.namespace, link.service.name) == DNS for link in blamed_links(scene, subject))


def _alias(scene: Scene, subject: Subject, host: str) -> str:
    """The outside host behind a Service of type ExternalName."""
    for service in scene.topology.out(subject.ref, Relation.CALLS):
        spec = (scene.get(service) or {}).get("spec")
        if text(spec, "type") == "ExternalName" and means_service(
            scene, host, service, subject.ref.namespace
        ):
            return text(spec, "externalName")
    return ""
