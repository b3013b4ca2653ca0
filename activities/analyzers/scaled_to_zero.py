"""Workloads that somebody scaled to no pods at all."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import subjects
from cortexops.domain.kubernetes import commands, meta
from cortexops.domain.kubernetes.values import dig
from cortexops.domain.scene import Scene

_EXPLAINS = (
    Category.DEPENDENCY_DOWN,
    Category.CRASH,
    Category.CRASH_SINCE_RELEASE,
    Category.READINESS_PROBE,
    Category.LIVENESS_PROBE,
    Category.BAD_ROLLOUT,
    Category.SERVICE_MISROUTED,
    Category.HPA_NO_METRICS,
    Category.JOB_FAILED,
)


@analyzer("scaled_to_zero")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        replicas = dig(subject.obj, "spec", "replicas")
        if (
            subject.ref.kind not in ("Deployment", "StatefulSet")
            or replicas != 0
            or isinstance(replicas, bool)
        ):
            continue
        write = meta.writes(subject.obj, "spec", "replicas")
        says = f"{subject.ref} is scaled to 0 replicas"
        evidence = cite_write(book, subject.ref, says, write, unknown=EvidenceKind.STATUS)
        events = [
            e
            for e in scene.events_about(subject.ref, "ScalingReplicaSet", "SuccessfulDelete")
            if e.message.startswith("Scaled down") or "delete Pod" in e.message
        ]
        found.append(
            Hypothesis(
                resource=subject.ref,
                category=Category.SCALED_TO_ZERO,
                summary=f"{says}{by_whom(write)}: nothing is left to answer",
                support=support(subject, 1.0, precedes=True if write and write.at <= scene.onset else None),
                evidence=(
                    evidence,
                    *(
                        book.cite(
                            EvidenceKind.EVENT,
                            e.about,
                            e.message,
                            at=e.last,
                            command=commands.events(e.about),
                        )
                        for e in events[:1]
                    ),
                ),
                explains=_EXPLAINS,
                facts={"replicas": "0"},
            )
        )
    return found
