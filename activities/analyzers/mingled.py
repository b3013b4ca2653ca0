"""A Service whose selector was changed and picks the pods of several programs since: requests go to strangers, too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import (
    Subject,
    alerted_at,
    backing,
    log_lines,
    serves_badly,
    subjects,
    template_spec,
)
from cortexops.domain.kubernetes import complaints, meta, pods
from cortexops.domain.kubernetes.values import text, texts
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import line_names
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of

_LATELY = timedelta(hours=24)
_TOLD, _SILENT = 0.9, 0.7
_EXPLAINS = (Category.DEPENDENCY_DOWN, Category.CRASH, Category.BAD_ROLLOUT)


@analyzer("mingled")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if not serves_badly(scene):
        return []
    found: dict[ResourceRef, Hypothesis] = {}
    for caller, service in _asked(scene):
        write = _changed(scene, service)
        names = _strangers(scene, service) if write is not None else []
        if write is None or len(names) < 2:
            continue
        said = _complaint(scene, caller, service) if service != scene.target else None
        if said is None and service != scene.target:
            continue
        selector = ", ".join(
            f"{key}={value}"
            for key, value in sorted(texts(scene.get(service) or {}, "spec", "selector").items())
        )
        says = f"the selector of {service} was changed to {selector}"
        evidence = [cite_write(book, service, says, write)]
        if said is not None:
            evidence.append(cite_log(book, *said, f"complains about {service.name}"))
        found.setdefault(
            service,
            Hypothesis(
                resource=service,
                category=Category.SERVICE_MISROUTED,
                summary=f"{service} selects {selector} since {write.at:%Y-%m-%d %H:%M:%S} UTC{by_whom(write)}, which"
                f" picks the pods of several programs: {', '.join(names[:4])}",
                support=support(caller, _TOLD if said is not None else _SILENT, precedes=True, steps=1),
                evidence=tuple(evidence),
                explains=_EXPLAINS,
                facts={"service": service.name},
            ),
        )
    return list(found.values())


def _asked(scene: Scene) -> Iterator[tuple[Subject, ResourceRef]]:
    """(subject, Service) of the target, and of those that the subjects call."""
    for subject in subjects(scene):
        if scene.target.kind == "Service":
            yield subject, scene.target
        for service in scene.topology.out(subject.ref, Relation.CALLS):
            yield subject, service


def _changed(scene: Scene, service: ResourceRef) -> meta.Write | None:
    """The last write of its selector, if that came after it was made and shortly before the alert."""
    obj = scene.get(service) or {}
    write, born = meta.writes(obj, "spec", "selector"), meta.created(obj)
    if write is None or born is None or write.at <= born or write.at > alerted_at(scene):
        return None
    return write if scene.clocks_apart or write.at >= scene.onset - _LATELY else None


def _strangers(scene: Scene, service: ResourceRef) -> list[str]:
    """The workloads behind it, where they run different programs; versions of one program are none."""
    programs: dict[frozenset[str], str] = {}
    for ref in backing(scene, service):
        containers = pods.containers(template_spec(subject_of(scene, ref)))
        images = frozenset(text(each, "image").partition("@")[0].rpartition(":")[0] for each in containers)
        if images:
            programs.setdefault(images, str(ref))
    return list(programs.values())


def _complaint(
    scene: Scene, caller: Subject, service: ResourceRef
) -> tuple[ResourceRef, str, bool, list[str]] | None:
    for pod, container, previous, lines in log_lines(scene, caller):
        said = [
            line
            for line in complaints.complaining(lines)
            if line_names(scene, line, service, caller.ref.namespace)
        ]
        if said and not previous:
            return pod, container, previous, said
    return None
