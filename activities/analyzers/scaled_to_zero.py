"""Workloads that somebody scaled to no pods at all."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, signal_types, subjects
from cortexops.domain.kubernetes import commands, meta
from cortexops.domain.kubernetes.sleeping import put_to_sleep_by
from cortexops.domain.kubernetes.values import dig
from cortexops.domain.scene import Scene
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation

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


_CALLED = {SignalType.ERROR_RATE, SignalType.LATENCY}


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
        sleeping = _sleeping(scene, subject)
        if sleeping and not subject.upstream and not signal_types(scene) & _CALLED:
            continue  # that it has no pods is as it should be; nobody says that it is called
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
                summary=f"{says}{by_whom(write)}"
                + (f", put to sleep by {sleeping}," if sleeping else "")
                + ": nothing is left to answer",
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


def _sleeping(scene: Scene, subject: Subject) -> str:
    """Who put it to sleep on purpose, and will wake it up."""
    scalers = [scene.get(ref) or {} for ref in scene.topology.into(subject.ref, Relation.SCALES)]
    return put_to_sleep_by(subject.obj, scalers)
