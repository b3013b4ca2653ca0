"""Services whose pods are there and that do not lead to them alone, or not from the caller's node, or not yet."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import (
    Subject,
    backing,
    complaints_about,
    log_lines,
    roots,
    serves_badly,
    subjects,
)
from cortexops.domain.kubernetes import complaints, meta, pods
from cortexops.domain.kubernetes.values import dig, mapping, objects, text, texts, words
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN, Category.EXTERNAL_DEPENDENCY, Category.DNS_FAILURE,
    Category.STATEFULSET_STUCK, Category.NETWORK_POLICY,
)  # fmt: skip
_LATELY = timedelta(hours=24)


@analyzer("service_reach")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    if serves_badly(scene) or scene.target.kind in ("Service", "Ingress"):
        mixed = {scene.target, *(s for w in roots(scene) for s in scene.topology.into(w, Relation.SELECTS))}
        for service in sorted(mixed, key=str):
            hypothesis = _mixed(scene, book, service, scene.get(service) or {})
            if hypothesis is not None:
                found.setdefault(service, hypothesis)
    for subject in subjects(scene):
        for service in scene.topology.out(subject.ref, Relation.CALLS):
            for each in (_elsewhere, _outside):
                hypothesis = each(scene, book, subject, service, scene.get(service) or {})
                if hypothesis is not None:
                    found.setdefault(service, hypothesis)
        hypothesis = _unpublished(scene, book, subject)
        if hypothesis is not None:
            found.setdefault(hypothesis.resource, hypothesis)
    return list(found.values())


def _elsewhere(
    scene: Scene, book: EvidenceBook, subject: Subject, service: ResourceRef, live: JSON
) -> Hypothesis | None:
    """Traffic inside of the cluster stays on its node, and on the caller's node the Service has no pod."""
    if text(live, "spec", "internalTrafficPolicy") != "Local":
        return None
    served = _nodes(scene, service)
    victims = []
    for ref, container, previous, lines in log_lines(scene, subject):
        said = complaints_about(scene, subject, service, lines)
        at = pods.node_name(scene.get(ref) or {})
        if said and at in served:
            return None  # there it does lead to a pod: something else is wrong with it
        if said and at:
            victims.append((ref, container, previous, said, at))
    if not victims or not served:
        return None
    write = meta.writes(live, "spec", "internalTrafficPolicy")
    lately = write is not None and scene.onset - _LATELY <= write.at <= scene.onset
    ref, container, previous, said, at = victims[0]
    says = f"{service} leads only to pods on the caller's own node (internalTrafficPolicy: Local)"
    return Hypothesis(
        resource=service,
        category=Category.SERVICE_MISROUTED,
        summary=f"{says}{f', set{by_whom(write)} shortly before' if lately else ''}, and has none on Node {at}: pods"
        f" of {subject.ref} there do not reach it",
        support=support(subject, 0.97, precedes=True if lately else None, steps=1),
        evidence=(
            cite_write(book, service, says, write, unknown=EvidenceKind.CONFIG),
            cite_log(book, ref, container, previous, said, f"complains about {service.name}"),
        ),
        explains=_EXPLAINS,
        facts={"service": service.name, "node": at},
    )


def _outside(
    scene: Scene, book: EvidenceBook, subject: Subject, service: ResourceRef, live: JSON
) -> Hypothesis | None:
    """The Service leads out of the cluster, and what it leads to does not answer: since somebody changed where to,
    that is the cause; otherwise it lies outside."""
    name = text(live, "spec", "externalName")
    addresses = [] if name or texts(live, "spec", "selector") else _addresses(scene, service)
    if not name and not addresses:
        return None
    for ref, container, previous, lines in log_lines(scene, subject):
        said = complaints_about(scene, subject, service, complaints.complaining(lines))
        if not said:
            continue
        write = meta.writes(live, "spec", "externalName") if name else _last_write(scene, service)
        lately = write is not None and scene.onset - _LATELY <= write.at <= scene.onset
        where = name or ", ".join(addresses[:3])
        if name and not lately:
            return None  # the host outside is told of by its name
        says = f"{service} leads to {where}, outside of the cluster"
        return Hypothesis(
            resource=service,
            category=Category.SERVICE_MISROUTED if lately else Category.EXTERNAL_DEPENDENCY,
            summary=f"{says}{f', since it was changed{by_whom(write)} shortly before' if lately else ''}: pods of"
            f" {subject.ref} do not reach it there",
            support=support(subject, 0.95 if lately else 0.9, precedes=True if lately else None, steps=1),
            evidence=(
                cite_write(book, service, says, write, unknown=EvidenceKind.CONFIG),
                cite_log(book, ref, container, previous, said, f"complains about {service.name}"),
            ),
            explains=_EXPLAINS,
            facts={"service": service.name, "host": where},
        )
    return None


def _slices(scene: Scene, service: ResourceRef) -> list[JSON]:
    return [
        obj
        for ref, obj in scene.of_kind("EndpointSlice")
        if ref.namespace == service.namespace
        and meta.labels(obj).get("kubernetes.io/service-name") == service.name
    ]


def _addresses(scene: Scene, service: ResourceRef) -> list[str]:
    """What a Service without a selector leads to, where none of it is a pod."""
    endpoints = [each for obj in _slices(scene, service) for each in objects(obj, "endpoints")]
    if any(mapping(each, "targetRef") for each in endpoints):
        return []
    return [str(address) for each in endpoints for address in words(each, "addresses")]


def _last_write(scene: Scene, service: ResourceRef) -> meta.Write | None:
    """The last time that somebody wrote where a Service without a selector leads to, as far as times can be told."""
    if scene.clocks_apart:
        return None
    found = [write for obj in _slices(scene, service) if (write := meta.last_write(obj)) is not None]
    return max(found, key=lambda write: write.at) if found else None


def _mixed(scene: Scene, book: EvidenceBook, service: ResourceRef, live: JSON) -> Hypothesis | None:
    """The Service selects pods of another workload, too, which has nothing on the port that it sends to."""
    behind = backing(scene, service) if service.kind == "Service" else []
    ports = [text(port, "targetPort") or text(port, "port") for port in objects(live, "spec", "ports")]
    if len(behind) < 2 or not ports:
        return None
    ready = [ref for ref in behind if pods.ready_replicas(scene.get(ref) or {})]
    without = [ref for ref in ready if not any(_offers(scene.get(ref) or {}, port) for port in ports)]
    if len(without) == len(ready) or not without:
        return None  # whoever has it does not declare it
    other = without[0]
    its = scene.get(other) or {}
    silent = not any(objects(each, "ports") for each in pods.containers(_pod_spec(its)))
    born = meta.created(its)
    lately = born is not None and scene.onset - _LATELY <= born <= scene.onset
    chosen = ", ".join(f"{key}={value}" for key, value in sorted(texts(live, "spec", "selector").items()))
    says = f"{service} selects ({chosen}) the pods of {other}, too"
    has = f"{other} has no port {ports[0]}"
    return Hypothesis(
        resource=service,
        category=Category.SERVICE_MISROUTED,
        summary=f"{says}, which {'came lately and ' if lately else ''}has no port {ports[0]}: part of what is sent"
        " there is refused",
        support=support(
            Subject(service, live, ()),
            (0.95 if lately else 0.8) - (0.2 if silent else 0.0),  # ports need not be declared
            precedes=True if lately else None,
        ),
        evidence=(
            cite_write(book, service, says, None, unknown=EvidenceKind.CONFIG),
            cite_write(book, other, has, None, unknown=EvidenceKind.CONFIG),
        ),
        explains=_EXPLAINS,
        facts={"service": service.name, "other": other.name},
    )


def _pod_spec(workload: JSON) -> JSON:
    return mapping(workload, "spec", "template", "spec")


def _offers(workload: JSON, port: str) -> bool:
    """Whether a container of the template declares the port, by its number or its name."""
    return any(
        port in (text(entry, "containerPort"), text(entry, "name"))
        for each in pods.containers(_pod_spec(workload))
        for entry in objects(each, "ports")
    )


def _nodes(scene: Scene, service: ResourceRef) -> set[str]:
    """The nodes on which the Service has a ready pod, as far as was read."""
    found = {
        text(endpoint, "nodeName")
        for obj in _slices(scene, service)
        for endpoint in objects(obj, "endpoints")
        if mapping(endpoint, "conditions").get("ready") is not False
    }
    return found - {""}


def _unpublished(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """Members of a set that look for one another by names which exist only once they are ready."""
    name = text(subject.obj, "spec", "serviceName")
    service = scene.ref("Service", subject.ref.namespace, name)
    live = scene.get(service)
    if subject.ref.kind != "StatefulSet" or live is None or subject.ref not in backing(scene, service):
        return None
    if text(live, "spec", "clusterIP") != "None" or dig(live, "spec", "publishNotReadyAddresses") is True:
        return None
    running = [pod for _, pod in subject.pods if text(pod, "status", "phase") == "Running"]
    if len(running) < 2 or any(pods.is_ready(pod) for pod in running):
        return None  # names of those that are ready exist
    for ref, container, previous, lines in log_lines(scene, subject):
        others = [f"{other.name}.{name}" for other, _ in subject.pods if other != ref]
        said = [
            line
            for line in (*complaints.resolving(lines), *complaints.no_such_name(lines))
            if any(other in line for other in others)
        ]
        if said:
            says = (
                f"{service} does not publish pods before they are ready (publishNotReadyAddresses is not set)"
            )
            return Hypothesis(
                resource=service,
                category=Category.SERVICE_MISROUTED,
                summary=f"{says}: members of {subject.ref} do not find one another, and none becomes ready",
                support=support(subject, 0.9, steps=1),
                evidence=(
                    cite_write(book, service, says, None, unknown=EvidenceKind.CONFIG),
                    cite_log(book, ref, container, previous, said, "does not find the others"),
                ),
                explains=_EXPLAINS,
                facts={"service": service.name},
            )
    return None
