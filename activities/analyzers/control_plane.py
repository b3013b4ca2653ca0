"""Changes that no controller takes note of: the controller manager does not work."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, own_subjects, seen_until
from cortexops.domain.kubernetes import commands, complaints, pods
from cortexops.domain.kubernetes.control_plane import (
    CONTROLLER_MANAGER,
    SYSTEM,
    is_unobserved,
    silent_since,
)
from cortexops.domain.kubernetes.values import number
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene

_EXPLAINS = (Category.BAD_ROLLOUT, Category.SCHEDULING, Category.STATEFULSET_STUCK, Category.STUCK_POD)


@analyzer("control_plane")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    behind = [subject for subject in own_subjects(scene) if is_unobserved(subject.obj)]
    return [found for subject in behind[:1] if (found := _of(scene, book, subject)) is not None]


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    wanted, seen = (
        number(subject.obj, "metadata", "generation"), number(subject.obj, "status", "observedGeneration"),
    )  # fmt: skip
    evidence = [
        book.cite(
            EvidenceKind.STATUS, subject.ref,
            f"{subject.ref} is at generation {wanted}, its controller at {seen}",
            command=commands.show(subject.ref),
        )
    ]  # fmt: skip
    lease = scene.ref("Lease", SYSTEM, CONTROLLER_MANAGER)
    since = silent_since(scene.get(lease) or {}, seen_until(scene))
    if since is not None:
        evidence.append(
            book.cite(
                EvidenceKind.STATUS, lease, f"{lease} has not been renewed", at=since,
                command=commands.show(lease),
            )
        )  # fmt: skip
    ill = [
        (ref, pod)
        for ref, pod in scene.of_kind("Pod")
        if ref.namespace == SYSTEM and ref.name.startswith(CONTROLLER_MANAGER) and pods.is_unready(pod)
    ]
    running = any(
        ref.namespace == SYSTEM and ref.name.startswith(CONTROLLER_MANAGER) and pods.is_ready(pod)
        for ref, pod in scene.of_kind("Pod")
    )
    if since is None and (running or not ill):
        return None
    resource: ResourceRef = ill[0][0] if ill else lease
    said = ""
    for log in scene.logs_of(resource)[:1] if ill else []:
        wrong = complaints.complaining(log.lines) or list(log.lines[-1:])
        evidence.append(cite_log(book, log.pod, log.container, log.previous, wrong, "says"))
        said = f", saying “{wrong[-1][:160]}”"
    return Hypothesis(
        resource=resource,
        category=Category.DEPENDENCY_DOWN,
        summary=f"the controller manager of the cluster does not work ({resource}{said}): the newest change of"
        f" {subject.ref} is not carried out, nor is any other in the cluster",
        support=support(subject, 1.0 if ill else 0.85, steps=1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"pod": resource.name} if ill else {},
    )
