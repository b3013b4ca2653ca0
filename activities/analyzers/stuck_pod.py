"""Single pods that hang: in deletion, or on the way to their start."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_event, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, seen_until, subjects
from cortexops.domain.kubernetes import commands, meta
from cortexops.domain.kubernetes.nodes import SETUP_EVENTS
from cortexops.domain.kubernetes.values import objects, text, words
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_PATIENCE = timedelta(minutes=5)
_EXPLAINS = (Category.BAD_ROLLOUT, Category.READINESS_PROBE, Category.DEPENDENCY_DOWN)


@analyzer("stuck_pod")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    now = seen_until(scene)
    for subject in subjects(scene):
        for ref, pod in subject.pods:
            due = meta.deleting_since(pod)
            if due is not None and now - due > _PATIENCE:
                finalizers = words(pod, "metadata", "finalizers")
                why = (
                    f"its finalizers {', '.join(finalizers)} wait"
                    if finalizers
                    else "its node does not end it"
                )
                evidence = book.cite(
                    EvidenceKind.STATUS,
                    ref,
                    f"{ref} should have been gone by then and is not",
                    at=due,
                    command=commands.show(ref),
                )
                found.append(_hypothesis(ref, f"{ref} hangs in deletion: {why}", 0.8, [evidence], subject))
            elif due is None and _setting_up(pod):
                events = scene.events_about(ref, *SETUP_EVENTS)
                if events:
                    evidence = cite_event(book, events[0])
                    summary = f"{ref} cannot be set up: {events[0].message[:200]}"
                    found.append(_hypothesis(ref, summary, 0.9, [evidence], subject))
    return found[:3]


def _setting_up(pod: JSON) -> bool:
    """Scheduled, but no container has been started."""
    statuses = objects(pod, "status", "containerStatuses")
    waiting = {text(status, "state", "waiting", "reason") for status in statuses}
    return text(pod, "status", "phase") == "Pending" and waiting <= {"ContainerCreating", "PodInitializing"}


def _hypothesis(
    ref: ResourceRef, summary: str, direct: float, evidence: list[str], subject: Subject
) -> Hypothesis:
    return Hypothesis(
        resource=ref,
        category=Category.STUCK_POD,
        summary=summary,
        support=support(subject, direct, steps=1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"pod": ref.name},
    )
