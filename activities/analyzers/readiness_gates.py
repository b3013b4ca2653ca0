"""Pods whose containers are all ready, and which stay unready for a condition that somebody else is to set."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, cite_release, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, subjects
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.releases import changed, release_of, runs
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Scene

_EXPLAINS = (
    Category.BAD_ROLLOUT, Category.READINESS_PROBE, Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED,
    Category.STATEFULSET_STUCK,
)  # fmt: skip


@analyzer("readiness_gates")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    return [found for subject in subjects(scene) if (found := _of(scene, book, subject)) is not None]


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    for ref, pod in subject.pods:
        gate = _closed(pod)
        if not gate or meta.deleting_since(pod) is not None:
            continue
        evidence = [cite_condition(book, ref, meta.condition(pod, "Ready"))]
        there = meta.condition(pod, gate)
        if there.status:
            evidence.append(cite_condition(book, ref, there))
        facts, since, precedes = {"pod": ref.name, "gate": gate}, "", None
        release = release_of(scene, subject)
        lately = release is not None and runs(release, pod) and release.precedes(scene.onset)
        if release is not None and lately and changed(release, "readinessGates"):
            since, precedes = f"; revision {release.revision} asks for it", True
            facts |= release.facts()
            evidence.append(cite_release(book, subject, release))
        why = f"is False ({there.reason}: {there.message[:120]})" if there.status else "is set by nobody"
        return Hypothesis(
            resource=subject.ref,
            category=Category.READINESS_PROBE,
            summary=f"pods of {subject.ref} stay unready though all their containers are ready: their readiness gate"
            f" {gate} {why}{since}",
            support=support(subject, 0.95, precedes=precedes),
            evidence=tuple(evidence),
            explains=_EXPLAINS,
            facts=facts,
        )
    return None


def _closed(pod: JSON) -> str:
    """The gate that keeps a pod unready whose containers are all ready; empty where there is none."""
    states = [state for state in pods.container_states(pod) if not state.init]
    if not states or not all(state.ready for state in states):
        return ""
    if meta.condition(pod, "Ready").status != "False":
        return ""
    gates = [text(gate, "conditionType") for gate in objects(pod, "spec", "readinessGates")]
    return next((gate for gate in gates if gate and meta.condition(pod, gate).status != "True"), "")
