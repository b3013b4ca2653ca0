"""Services and Ingresses that lead nowhere although the pods they were meant for are ready."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.asked_ports import (
    asked_ports,
    brought_by,
    configured_ports,
    is_probed,
    listens_elsewhere,
    nobody_listens,
    told_by,
)
from cortexops.domain.citing import cite_log, cite_release, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis, confidence
from cortexops.domain.evidence import EvidenceBook, EvidenceKind, GapReason
from cortexops.domain.findings import (
    Subject,
    backing,
    complaints_about,
    is_troubled,
    log_lines,
    own_subjects,
    serves_badly,
    service_ready,
    subjects,
)
from cortexops.domain.kubernetes import commands, complaints, meta, pods, selectors
from cortexops.domain.kubernetes.values import number, objects, text, texts
from cortexops.domain.releases import Release, release_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_LATELY = timedelta(hours=24)
_TOLD = 0.5
_EXPLAINS = (
    Category.DEPENDENCY_DOWN, Category.CRASH, Category.READINESS_PROBE, Category.LIVENESS_PROBE,
    Category.INIT_CONTAINER_FAILED, Category.BAD_ROLLOUT, Category.CRASH_SINCE_RELEASE,
)  # fmt: skip


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
    for subject in subjects(scene):
        if is_troubled(scene, subject) or serves_badly(scene):
            found += _called(scene, book, subject)
    found += _backends(scene, book)
    if not found:
        found += _nobody(scene, book)
    return list({(h.resource, h.category): h for h in sorted(found, key=confidence)}.values())


def _called(scene: Scene, book: EvidenceBook, caller: Subject) -> list[Hypothesis]:
    """Services that the caller complains about and that lead nowhere, or are not there at all."""
    found: list[Hypothesis] = []
    for ref in scene.topology.out(caller.ref, Relation.CALLS):
        complained: list[str] = []
        cited = ""
        for pod, container, previous, lines in log_lines(scene, caller):
            said = complaints_about(scene, caller, ref, lines)
            if said:
                complained, cited = (
                    said,
                    cite_log(book, pod, container, previous, said, f"complains about {ref.name}"),
                )
                break
        service = scene.get(ref)
        if not complained:
            continue
        if service is None:
            hypothesis = _absent(scene, book, caller, ref)
        else:
            behind = [*backing(scene, ref), *scene.topology.out(ref, Relation.MEANT_FOR)]
            hypothesis = None
            for workload in behind:
                callee = Subject(
                    workload,
                    scene.get(workload) or {},
                    tuple(scene.pods_of(workload)),
                    caller.distance + 1,
                    caller.weight,
                )
                hypothesis = hypothesis or _selects_nothing(scene, book, callee, ref, service, asked=True)
                if pods.ready_replicas(callee.obj):  # they serve; it is the way to them that is wrong
                    hypothesis = hypothesis or _wrong_port(scene, book, callee, ref, service, complained)
                    hypothesis = hypothesis or _listens_elsewhere(
                        scene, book, callee, ref, service, complained
                    )
                    hypothesis = hypothesis or _not_offered(scene, book, caller, ref, service, complained)
        if hypothesis is not None:
            explains = _EXPLAINS if hypothesis.support.direct >= _TOLD else ()  # a weaker one only describes
            evidence = (cited, *hypothesis.evidence)
            found.append(hypothesis.model_copy(update={"evidence": evidence, "explains": explains}))
    return found


def _nobody(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """A Service, the alert's target or its backend, that selects nothing, and no workload seems meant."""
    services = [scene.target] if scene.target.kind == "Service" else []
    if scene.target.kind == "Ingress":
        services = scene.topology.out(scene.target, Relation.ROUTES_TO)
    found = []
    for ref in services:
        selector = texts(scene.get(ref) or {}, "spec", "selector")
        if not selector or scene.topology.out(ref, Relation.SELECTS, Relation.MEANT_FOR):
            continue
        if any(gap.reason is not GapReason.NO_DATA and gap.what.startswith("list ") for gap in scene.gaps):
            continue
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(selector.items()))
        cited = book.cite(
            EvidenceKind.TOPOLOGY, ref, f"nothing in namespace {ref.namespace} has the labels {wanted}",
            command=commands.endpoints(ref),
        )  # fmt: skip
        found.append(
            Hypothesis(
                resource=ref,
                category=Category.SERVICE_MISROUTED,
                summary=f"{ref} selects {wanted}, and no workload has such pods: it has no endpoints",
                support=support(Subject(ref, scene.get(ref) or {}, ()), 0.85),
                evidence=(cited,),
                facts={"service": ref.name},
            )
        )
    return found


def _absent(scene: Scene, book: EvidenceBook, caller: Subject, ref: ResourceRef) -> Hypothesis | None:
    """A Service that the caller misses by name and that was looked for and not found."""
    if any(gap.reason is not GapReason.NO_DATA and "services" in gap.what for gap in scene.gaps):
        return None
    cited = book.cite(
        EvidenceKind.TOPOLOGY,
        ref,
        f"{ref}, which {caller.ref} calls, does not exist",
        command=commands.show(ref),
    )
    release = release_of(scene, caller)
    if release is not None and release.precedes(scene.onset) and _brought(release, ref):
        return Hypothesis(
            resource=caller.ref,
            category=Category.BAD_ROLLOUT,
            summary=f"{caller.ref} calls {ref}, which does not exist, since revision {release.revision} names it",
            support=support(caller, 0.95, precedes=True),
            evidence=(cited, cite_release(book, caller, release)),
            facts=release.facts() | {"service": ref.name},
        )
    return Hypothesis(
        resource=ref,
        category=Category.SERVICE_MISROUTED,
        summary=f"{caller.ref} calls {ref}, which does not exist",
        support=support(caller, 0.85, steps=1),
        evidence=(cited,),
        facts={"service": ref.name, "absent": "true"},
    )


def _brought(release: Release, ref: ResourceRef) -> bool:
    """Whether the release wrote a Service's name into the template, alone or with its namespace, that was not there."""
    for name in (ref.name, f"{ref.name}.{ref.namespace}"):
        after = any(complaints.names(line.after or "", name) for line in release.lines)
        if after and not any(complaints.names(line.before or "", name) for line in release.lines):
            return True
    return False


def _about(scene: Scene, ref: ResourceRef, subject: Subject) -> bool:
    """Whether the alert is about this Service, or it is plainly the workload's own."""
    routed = any(scene.target == i for i in scene.topology.into(ref, Relation.ROUTES_TO))
    return ref == scene.target or ref.name == subject.ref.name or routed


def _labels(subject: Subject) -> dict[str, str]:
    return texts(subject.obj, "spec", "template", "metadata", "labels")


def _selects_nothing(
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    ref: ResourceRef,
    service: JSON,
    *,
    asked: bool = False,
) -> Hypothesis | None:
    selector, labels = texts(service, "spec", "selector"), _labels(subject)
    if not selector or not labels or selectors.picks_template(selector, labels):
        return None
    if not asked and not _about(scene, ref, subject):
        return None
    if scene.topology.out(ref, Relation.SELECTS) or (service_ready(scene, ref) or 0) > 0:
        return None  # it leads to others
    if not any(pods.is_ready(pod) for _, pod in subject.pods) and not pods.ready_replicas(subject.obj):
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
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    ref: ResourceRef,
    service: JSON,
    complained: Sequence[str] = (),
) -> Hypothesis | None:
    """A targetPort that no container of the selected pods declares, while they declare others.

    A name that none declares leads nowhere. A number may well be listened on: to declare ports is for the
    information of readers alone, so that something else has to say that nobody does.
    """
    if not selectors.picks_template(texts(service, "spec", "selector"), _labels(subject)):
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
        if not named and is_probed(subject, containers, int(wanted)):
            continue
        silent = not named and nobody_listens(scene, subject, ref, service, int(wanted), complained)
        write = meta.writes(service, "spec", "ports")
        lately = write is not None and scene.onset - _LATELY <= write.at <= scene.onset
        evidence = cite_write(
            book, ref, f"{ref} sends to port {wanted}; the pods declare {', '.join(map(str, sorted(numbers)))}",
            write if lately else None, unknown=EvidenceKind.CONFIG,
        )  # fmt: skip
        return Hypothesis(
            resource=ref,
            category=Category.SERVICE_MISROUTED,
            summary=f"{ref} sends to port {wanted}, which no container of {subject.ref} declares"
            + (" and nobody listens on" if silent else ""),
            support=support(
                subject,
                0.95 if named else 0.85 if silent else 0.6 if lately else 0.4,
                precedes=True if lately else None,
                steps=1,
            ),
            evidence=(evidence,),
            facts={"service": ref.name},
        )
    return None


def _listens_elsewhere(
    scene: Scene,
    book: EvidenceBook,
    callee: Subject,
    ref: ResourceRef,
    service: JSON,
    complained: Sequence[str],
) -> Hypothesis | None:
    """Ready pods that say that they listen on another port than the one that the Service sends to, and declare
    that one all the same. Without a release that brought their port, it must be one that they do not declare."""
    containers = objects(callee.obj, "spec", "template", "spec", "containers")
    declared = [port for container in containers for port in objects(container, "ports")]
    for port in objects(service, "spec", "ports"):
        wanted = text(port, "targetPort") or text(port, "port")
        named = [number(each, "containerPort") for each in declared if text(each, "name") == wanted]
        at = int(wanted) if wanted.isdigit() else next(iter(named), 0)
        found = listens_elsewhere(scene, callee, at, complained) if at else None
        if found is None or is_probed(callee, containers, at):
            continue
        heard, (pod, container, lines) = found
        evidence = [
            cite_log(book, pod, container, False, lines, "tells its port"),
            cite_write(book, ref, f"{ref} sends to port {at}", None, unknown=EvidenceKind.CONFIG),
        ]
        has = ", ".join(map(str, sorted(heard)))
        release = release_of(scene, callee)
        brought = brought_by(release, heard) if release is not None and release.precedes(scene.onset) else ""
        if release is not None and brought:
            return Hypothesis(
                resource=callee.ref,
                category=Category.BAD_ROLLOUT,
                summary=f"{callee.ref} listens on port {has} since revision {release.revision}, while {ref} sends"
                f" to {at}: {brought}",
                support=support(callee, 0.92, precedes=True),
                evidence=(*evidence, cite_release(book, callee, release)),
                facts=release.facts() | {"service": ref.name},
            )
        if not heard & {number(each, "containerPort") for each in declared}:
            return Hypothesis(
                resource=ref,
                category=Category.SERVICE_MISROUTED,
                summary=f"{ref} sends to port {at}, and pods of {callee.ref} listen on {has}",
                support=support(callee, 0.8, steps=1),
                evidence=tuple(evidence),
                facts={"service": ref.name},
            )
    return None


def _not_offered(
    scene: Scene, book: EvidenceBook, caller: Subject, ref: ResourceRef, service: JSON, lines: list[str]
) -> Hypothesis | None:
    """The caller asks for a port that the Service does not have. Whether the Service lost it or the caller is wrong,
    a change of the Service's ports tells; without one the ConfigMap that names the port is wrong."""
    has = [number(port, "port") for port in objects(service, "spec", "ports")]
    asked = asked_ports(scene, caller, ref, lines)
    if not asked or not has or asked & set(has) or text(service, "spec", "clusterIP") == "None":
        return None
    configured = configured_ports(scene, caller, ref)
    if configured and not asked & configured:
        return None  # in the words of somebody whose error it hands on
    wanted, there = ", ".join(map(str, sorted(asked))), ", ".join(map(str, has))
    release = release_of(scene, caller)
    brought = brought_by(release, asked) if release is not None and release.precedes(scene.onset) else ""
    if release is not None and brought:
        return Hypothesis(
            resource=caller.ref,
            category=Category.BAD_ROLLOUT,
            summary=f"revision {release.revision} of {caller.ref} asks for port {wanted} of {ref}, which has only"
            f" {there}: {brought}",
            support=support(caller, 0.95, precedes=True),
            evidence=(
                cite_release(book, caller, release),
                cite_write(book, ref, f"{ref} has {there}, not {wanted}", None, unknown=EvidenceKind.CONFIG),
            ),
            explains=_EXPLAINS,
            facts=release.facts(),
        )
    write = meta.writes(service, "spec", "ports")
    before = write is not None and write.at <= scene.onset and scene.onset - write.at < _LATELY
    cited = cite_write(
        book, ref, f"{ref} has {there}, not {wanted}", write if before else None, unknown=EvidenceKind.CONFIG
    )
    if not before and (told := told_by(scene, caller, ref, asked)) is not None:
        return Hypothesis(
            resource=told[0],
            category=Category.CONFIGMAP_CHANGED,
            summary=f"key {told[1]} of {told[0]} names port {wanted} of {ref}, which has only {there}",
            support=support(caller, 0.85, steps=1),
            evidence=(cited,),
            facts={"configmap": told[0].name, "key": told[1]},
        )
    return Hypothesis(
        resource=ref,
        category=Category.SERVICE_MISROUTED,
        summary=f"{caller.ref} asks for port {wanted} of {ref}, which has only {there}"
        + (": its ports were changed before the trouble began" if before else ""),
        support=support(caller, 0.95 if before else 0.7, precedes=True if before else None, steps=1),
        evidence=(cited,),
        facts={"service": ref.name},
    )


def _backends(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """An Ingress, the alert's target, that routes to a Service that does not exist."""
    if scene.target.kind == "Ingress":
        found = _backend_ports(scene, book)
        if found:
            return found
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


def _backend_ports(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """A port of a backend Service that the Service does not have."""
    ingress = scene.get(scene.target) or {}
    for rule in objects(ingress, "spec", "rules"):
        for path in objects(rule, "http", "paths"):
            name = text(path, "backend", "service", "name")
            service = scene.get(scene.ref("Service", scene.target.namespace, name))
            wanted = text(path, "backend", "service", "port", "number")
            wanted_name = text(path, "backend", "service", "port", "name")
            ports = objects(service or {}, "spec", "ports")
            if not ports or not (wanted or wanted_name):
                continue
            if any(
                text(p, "port") == wanted or (wanted_name and text(p, "name") == wanted_name) for p in ports
            ):
                continue
            has = ", ".join(text(p, "port") for p in ports)
            cited = book.cite(
                EvidenceKind.CONFIG, scene.target,
                f"{scene.target} routes to port {wanted or wanted_name} of Service {name}, which has {has}",
                command=commands.show(scene.target),
            )  # fmt: skip
            return [
                Hypothesis(
                    resource=scene.target,
                    category=Category.SERVICE_MISROUTED,
                    summary=f"{scene.target} routes to port {wanted or wanted_name} of Service {name},"
                    f" which has only {has}",
                    support=support(Subject(scene.target, ingress, ()), 0.95),
                    evidence=(cited,),
                    facts={"service": name},
                )
            ]
    return []
