"""Services and Ingresses that lead nowhere although the pods they were meant for are ready."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, own_subjects, service_ready
from cortexops.domain.kubernetes import commands, meta, pods, selectors
from cortexops.domain.kubernetes.values import number, objects, text, texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation


@analyzer("routing")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in own_subjects(scene):
        for ref, service in scene.of_kind("Service"):
            if ref.namespace == subject.ref.namespace:
                hypothesis = _selects_nothing(scene, book, subject, ref, service) or _wrong_port(
                    scene, book, subject, ref, service
                )
                if hypothesis is not None:
                    found.append(hypothesis)
    found += _backends(scene, book)
    return found


def _about(scene: Scene, ref: ResourceRef, subject: Subject) -> bool:
    """Whether the alert is about this Service, or it is plainly the workload's own."""
    routed = any(scene.target == i for i in scene.topology.into(ref, Relation.ROUTES_TO))
    return ref == scene.target or ref.name == subject.ref.name or routed


def _labels(subject: Subject) -> dict[str, str]:
    return texts(subject.obj, "spec", "template", "metadata", "labels")


def _selects_nothing(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, service: JSON
) -> Hypothesis | None:
    selector, labels = texts(service, "spec", "selector"), _labels(subject)
    if not selector or not labels or selectors.equals(selector, labels) or not _about(scene, ref, subject):
        return None
    if scene.topology.out(ref, Relation.SELECTS) or (service_ready(scene, ref) or 0) > 0:
        return None  # it leads to others
    if not any(pods.is_ready(pod) for _, pod in subject.pods):
        return None
    differ = {k: v for k, v in selector.items() if labels.get(k) != v}
    wrong = ", ".join(f"{k}={v} (pods have {labels.get(k, 'no such label')})" for k, v in differ.items())
    write = meta.writes(service, "spec", "selector")
    evidence = book.cite(
        EvidenceKind.CHANGE if write else EvidenceKind.CONFIG,
        ref,
        f"{ref} selects {wrong}",
        at=write.at if write else None,
        command=commands.history(ref),
    )
    return Hypothesis(
        resource=ref,
        category=Category.SERVICE_MISROUTED,
        summary=f"{ref} selects no pods: {wrong}, while pods of {subject.ref} are ready",
        support=support(subject, 0.95, precedes=True if write and write.at <= scene.onset else None, steps=1),
        evidence=(evidence,),
        facts={"service": ref.name},
    )


def _wrong_port(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, service: JSON
) -> Hypothesis | None:
    """A targetPort that no container of the selected pods declares, while they declare others."""
    if not selectors.equals(texts(service, "spec", "selector"), _labels(subject)):
        return None
    containers = objects(subject.obj, "spec", "template", "spec", "containers")
    declared = [port for container in containers for port in objects(container, "ports")]
    numbers = {number(port, "containerPort") for port in declared}
    names = {text(port, "name") for port in declared}
    for port in objects(service, "spec", "ports"):
        wanted = text(port, "targetPort") or text(port, "port")
        named = not wanted.isdigit()
        if not declared or (wanted in names if named else int(wanted) in numbers):
            continue
        evidence = book.cite(
            EvidenceKind.CONFIG,
            ref,
            f"{ref} sends to port {wanted}; the pods declare {', '.join(map(str, sorted(numbers)))}",
            command=commands.show(ref),
        )
        return Hypothesis(
            resource=ref,
            category=Category.SERVICE_MISROUTED,
            summary=f"{ref} sends to port {wanted}, which no container of {subject.ref} declares",
            # containers may listen on ports that they do not declare; names they cannot make up
            support=support(subject, 0.95 if named else (0.85 if ref == scene.target else 0.5), steps=1),
            evidence=(evidence,),
            facts={"service": ref.name},
        )
    return None


def _backends(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """An Ingress, the alert's target, that routes to a Service that does not exist."""
    ingress = scene.get(scene.target)
    if scene.target.kind != "Ingress" or ingress is None:
        return []
    missing = [
        service
        for service in scene.topology.out(scene.target, Relation.ROUTES_TO)
        if scene.get(service) is None
        and not any(service.name in gap.detail and gap.reason == "forbidden" for gap in scene.gaps)
    ]
    return [
        Hypothesis(
            resource=scene.target,
            category=Category.SERVICE_MISROUTED,
            summary=f"{scene.target} routes to {service}, which does not exist",
            support=support(Subject(scene.target, ingress, ()), 0.95),
            evidence=(
                book.cite(
                    EvidenceKind.TOPOLOGY,
                    scene.target,
                    f"{service}, a backend of {scene.target}, was not found",
                    command=commands.show(service),
                ),
            ),
            facts={"service": service.name},
        )
        for service in missing
    ]
