"""Autoscalers that may not grow any more, or that have nothing to go by."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, cite_event, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, is_troubled, own_subjects, serves_badly, signal_types
from cortexops.domain.kubernetes import commands, meta
from cortexops.domain.kubernetes.hpa import condition
from cortexops.domain.kubernetes.values import number
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation

_FAILED = (
    "FailedGetResourceMetric", "FailedGetContainerResourceMetric", "FailedGetPodsMetric", "FailedGetObjectMetric",
    "FailedGetExternalMetric", "FailedComputeMetricsReplicas",
)  # fmt: skip
_TWICE = "AmbiguousSelector"  # more than one autoscaler selects the same pods


@analyzer("autoscaling")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in own_subjects(scene):
        for ref in scene.topology.into(subject.ref, Relation.SCALES):
            scaler = scene.get(ref)
            if scaler is None:
                continue
            for each in (_without_metrics, _at_most):
                hypothesis = each(scene, book, subject, ref, scaler)
                if hypothesis is not None:
                    found.append(hypothesis)
    return found


def _asked(scene: Scene, ref: ResourceRef) -> bool:
    """Whether the alert is about scaling or load, rather than about something that merely has a scaler."""
    loaded = {SignalType.LATENCY, SignalType.CPU_HIGH, SignalType.ERROR_RATE}
    named = any("hpa" in s.name.lower() or "autoscal" in s.name.lower() for s in scene.signals)
    return scene.target == ref or named or bool(signal_types(scene) & loaded)


def _without_metrics(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, scaler: JSON
) -> Hypothesis | None:
    active = condition(scaler, "ScalingActive")
    if active.status != "False" or active.reason == "ScalingDisabled" or not _asked(scene, ref):
        return None
    evidence = [cite_condition(book, ref, active)]
    events = scene.events_about(ref, *_FAILED)
    evidence += [cite_event(book, event) for event in events[:1]]
    resource = ref
    why = "its pods are claimed twice" if active.reason == _TWICE else "it has no metrics"
    if "missing request for" in active.message:
        resource = subject.ref
    return Hypothesis(
        resource=resource,
        category=Category.HPA_NO_METRICS,
        summary=f"{ref} cannot compute the replicas of {subject.ref}, {why}: {active.message[:200]}",
        support=support(subject, 0.95, steps=0 if scene.target == ref else 1),
        evidence=tuple(evidence),
        facts={"autoscaler": ref.name},
    )


def _at_most(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, scaler: JSON
) -> Hypothesis | None:
    limited = condition(scaler, "ScalingLimited")
    most, current = number(scaler, "spec", "maxReplicas"), number(scaler, "status", "currentReplicas")
    maxed = limited.status == "True" and limited.reason == "TooManyReplicas"
    if not (maxed or (most and current >= most and scene.target == ref)) or not _asked(scene, ref):
        return None
    evidence = [cite_condition(book, ref, limited)] if limited.status else []
    evidence.append(
        book.cite(
            EvidenceKind.STATUS, ref, f"{ref} has {current} of at most {most} replicas",
            command=commands.describe(ref),
        )
    )  # fmt: skip
    write = meta.writes(scaler, "spec", "maxReplicas")
    lowered = write is not None and write.at <= scene.onset and write.at > (meta.created(scaler) or write.at)
    about = scene.target == ref or (serves_badly(scene) and not is_troubled(scene, subject))
    direct = 0.95 if scene.target == ref else 0.75 if about else 0.55
    return Hypothesis(
        resource=ref,
        category=Category.HPA_MAXED_OUT,
        summary=f"{ref} is at its maximum of {most} replicas and wants more for {subject.ref}",
        support=support(subject, direct, precedes=True if lowered else None, steps=0 if about else 1),
        evidence=tuple(evidence),
        facts={"autoscaler": ref.name, "max_replicas": str(most)},
    )
