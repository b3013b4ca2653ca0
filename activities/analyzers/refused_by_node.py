"""Pods that were placed on a node and turned away by its kubelet, which makes them fail at once."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_event, cite_release, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, subjects
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.releases import release_of
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Scene

_REASONS = {
    "SysctlForbidden": "for a sysctl that the node does not allow",
    "AppArmor": "for an AppArmor profile that the node does not have",
    "PodOSNotSupported": "since they are made for another operating system",
    "PodOSSelectorNodeLabelDoesNotMatch": "since they are made for another operating system",
    "PodLevelResourcesNotSupported": "for resources that the node's version does not know",
    "PodFeatureUnsupported": "for a feature that the node's version does not know",
    "UnexpectedAdmissionError": "since what they ask of a device or of the node's managers cannot be given",
    "TopologyAffinityError": "since their CPUs and devices cannot be given from one NUMA node",
}
"""Why a kubelet fails a pod before it starts a container (`status.reason`), as far as the pod's own spec is why.

Where there is merely no room (`OutOfcpu`, `OutOfpods`), the scheduler's or the writer's choice of node is.
"""
_SHOWN = 3


@analyzer("refused_by_node")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    return [found for subject in subjects(scene) if (found := _of(scene, book, subject)) is not None]


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    turned_away = [(ref, pod) for ref, pod in subject.pods if _is_refused(pod)]
    if not turned_away or _served(subject):
        return None
    newest, pod = max(
        turned_away, key=lambda each: (text(each[1], "metadata", "creationTimestamp"), each[0].name)
    )
    reason, message = text(pod, "status", "reason"), text(pod, "status", "message")
    evidence = [
        book.cite(
            EvidenceKind.STATUS,
            ref,
            f"{ref} failed on {pods.node_name(each)}: {reason}: {text(each, 'status', 'message')}",
            at=meta.created(each),
            command=commands.describe(ref),
        )
        for ref, each in turned_away[:_SHOWN]
    ]
    evidence += [cite_event(book, event) for event in scene.events_about(newest, reason)[:1]]
    release = release_of(scene, subject)
    precedes = True if release is not None and release.precedes(scene.onset) else None
    if release is not None and precedes:
        evidence.append(cite_release(book, subject, release))
    why = next(words for key, words in _REASONS.items() if reason.startswith(key))
    return Hypothesis(
        resource=subject.ref,
        category=Category.ADMISSION_DENIED,
        summary=f"pods of {subject.ref} are turned away by their nodes {why} ({reason}): {message[:200]}"
        + (f", since revision {release.revision}" if release is not None and precedes else ""),
        support=support(subject, 0.95, precedes=precedes),
        evidence=tuple(evidence),
        explains=(
            Category.BAD_ROLLOUT,
            Category.STUCK_POD,
            Category.SERVICE_MISROUTED,
            Category.DEPENDENCY_DOWN,
        ),
        facts=release.facts() if release is not None and precedes else {},
    )


def _is_refused(pod: JSON) -> bool:
    """Failed with the kubelet's own reason, and no container was ever started."""
    reason = text(pod, "status", "reason")
    started = any(state.ended or state.last or state.ready for state in pods.container_states(pod))
    return pods.phase(pod) == "Failed" and reason.startswith(tuple(_REASONS)) and not started


def _served(subject: Subject) -> bool:
    """Whether there are as many ready pods as wanted all the same: then the failed ones are history."""
    if subject.ref.kind in ("Job", "CronJob"):
        return not any(text(c, "type") == "Failed" for c in objects(subject.obj, "status", "conditions"))
    return pods.ready_replicas(subject.obj) >= pods.wanted_replicas(subject.obj)
