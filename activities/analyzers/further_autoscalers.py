"""Autoscalers of add-ons that are paused, blind or at their bound (KEDA), or that squeeze limits or evict (VPA)."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, cite_end, cite_event, cite_write, events_of, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, seen_until, serves_badly, subjects, template_spec, troubles
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.values import amount, mapping, number, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_CLOCKS = timedelta(minutes=1)
_PAUSES = ("autoscaling.keda.sh/paused-replicas", "autoscaling.keda.sh/paused")
_DEFAULT_MAXIMUM = 100
_PERHAPS = 0.65  # there are pods, and nothing says that more would help
_ACTING = ("", "Auto", "Recreate", "Initial", "InPlaceOrRecreate")
_EXPLAINS = (
    Category.SCALED_TO_ZERO, Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED, Category.CRASH,
    Category.READINESS_PROBE, Category.LIVENESS_PROBE, Category.CPU_THROTTLING, Category.HPA_NO_METRICS,
    Category.HPA_MAXED_OUT, Category.BAD_ROLLOUT,
)  # fmt: skip
_TOO_FEW = (Category.CPU_THROTTLING, Category.HPA_NO_METRICS, Category.HPA_MAXED_OUT)
_SQUEEZED = (
    Category.OOM_LIMIT_TOO_LOW, Category.OOM_AFTER_RELEASE, Category.MEMORY_LEAK, Category.CRASH,
    Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE, Category.LIVENESS_PROBE,
    Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED,
)  # fmt: skip
_OFTEN = 4
_LATELY = timedelta(hours=2)
_REPLACED = re.compile(r"(?i)replac|restart|evict|churn|recreat|flap|young")


@analyzer("further_autoscalers")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis | None] = []
    for subject in subjects(scene):
        for ref in scene.topology.into(subject.ref, Relation.ACTS_ON):
            live = scene.get(ref) or {}
            if ref.kind == "ScaledObject":
                found.append(
                    _paused(scene, book, subject, ref, live)
                    or _blind(scene, book, subject, ref, live)
                    or _at_maximum(scene, book, subject, ref, live)
                )
            elif ref.kind == "VerticalPodAutoscaler":
                found.append(
                    _squeezed(scene, book, subject, ref, live) or _evicts(scene, book, subject, ref, live)
                )
    return [each for each in found if each is not None]


def _short(scene: Scene, subject: Subject) -> bool:
    """Whether more pods would help: there are none, or callers wait."""
    return pods.wanted_replicas(subject.obj) == 0 or serves_badly(scene)


def _paused(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, live: JSON
) -> Hypothesis | None:
    marks = meta.annotations_of(live)
    held = [mark for mark in _PAUSES if marks.get(mark, "false").lower() != "false"]
    if not held or not _short(scene, subject):
        return None
    writes = [write for mark in held if (write := meta.writes(live, "metadata", "annotations", mark))]
    write = max(writes, default=None) or meta.last_write(live)
    if write is not None and write.at > scene.onset + _CLOCKS:
        return None
    fixed = marks.get(_PAUSES[0], "")
    none = pods.wanted_replicas(subject.obj) == 0
    at = f" at {fixed} replicas" if fixed else ""
    return Hypothesis(
        resource=ref,
        category=Category.AUTOSCALER_PAUSED,
        summary=f"{ref} is paused{at} and does not scale {subject.ref}",
        support=support(subject, 1.0 if none else _PERHAPS, precedes=True if write else None, steps=1),
        evidence=(cite_write(book, ref, f"{ref} is paused{at}", write, excerpt=str(held)),),
        explains=_EXPLAINS if none else _TOO_FEW,
        facts={"annotations": ",".join(held)},
    )


def _blind(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, live: JSON
) -> Hypothesis | None:
    """Its trigger cannot be asked, so that it does not know how many are needed."""
    ready, fallback = meta.condition(live, "Ready"), meta.condition(live, "Fallback")
    failed = ready if ready.status == "False" else fallback if fallback.status == "True" else None
    if failed is None or not _short(scene, subject):
        return None
    if failed.since is not None and failed.since > scene.onset + _CLOCKS:
        return None
    none = pods.wanted_replicas(subject.obj) == 0
    said = f"{failed.reason}: {failed.message[:200]}" if failed.message else failed.reason
    events = [e for e in scene.events_about(ref) if e.type == "Warning"]
    return Hypothesis(
        resource=ref,
        category=Category.HPA_NO_METRICS,
        summary=f"{ref} cannot ask its trigger and does not scale {subject.ref} ({said})",
        support=support(subject, 1.0 if none else _PERHAPS, precedes=True if failed.since else None, steps=1),
        evidence=(cite_condition(book, ref, failed), *(cite_event(book, event) for event in events[:2])),
        explains=_EXPLAINS if none else _TOO_FEW,
        facts={"autoscaler": ref.name},
    )


def _at_maximum(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, live: JSON
) -> Hypothesis | None:
    """It is as for a HorizontalPodAutoscaler, but who raises that one's maximum sees it written back."""
    made = [
        scaler
        for its, scaler in scene.of_kind("HorizontalPodAutoscaler")
        if meta.owner(scaler) == ("ScaledObject", ref.name) and its.namespace == ref.namespace
    ]
    most = number(live, "spec", "maxReplicaCount", default=_DEFAULT_MAXIMUM)
    limited = meta.condition(made[0], "ScalingLimited") if made else None
    full = limited is not None and limited.status == "True" and limited.reason == "TooManyReplicas"
    if not (full or (not made and pods.wanted_replicas(subject.obj) >= most)):
        return None
    about = scene.target.kind == "HorizontalPodAutoscaler" or serves_badly(scene)
    if not about:
        return None
    write = meta.writes(live, "spec", "maxReplicaCount")
    lowered = write is not None and write.at <= scene.onset and write.at > (meta.created(live) or write.at)
    evidence = [
        book.cite(
            EvidenceKind.STATUS, ref, f"{ref} allows {subject.ref} at most {most} replicas, and they are used",
            command=commands.show(ref),
        )
    ]  # fmt: skip
    direct = 0.97 if scene.target.kind == "HorizontalPodAutoscaler" else 0.79
    return Hypothesis(
        resource=ref,
        category=Category.HPA_MAXED_OUT,
        summary=f"{ref} is at its maximum of {most} replicas for {subject.ref}",
        support=support(subject, direct, precedes=True if lowered else None),
        evidence=tuple(evidence),
        facts={"autoscaler": ref.name, "max_replicas": str(most)},
    )


def _squeezed(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, live: JSON
) -> Hypothesis | None:
    """Containers out of memory at a limit that it gave them, below what their template asks for."""
    if text(live, "spec", "updatePolicy", "updateMode") not in _ACTING:
        return None
    for case in troubles(scene, subject):
        end, name = case.state.final, case.state.name
        if end is None or not end.out_of_memory:
            continue
        given = mapping(pods.spec_of(case.obj, name), "resources", "limits")
        asked = mapping(pods.spec_of({"spec": template_spec(subject)}, name), "resources", "limits")
        own, wanted = amount(given, "memory"), amount(asked, "memory")
        if own is None or wanted is None or own >= wanted:
            continue
        limit = text(given, "memory")
        says = f"{ref} gave container {name} a memory limit of {limit} instead of {text(asked, 'memory')}"
        evicted = events_of(scene, subject, "EvictedByVPA")
        born = meta.created(case.obj)
        return Hypothesis(
            resource=ref,
            category=Category.LIMIT_RANGE,
            summary=f"{says}, and it is killed (OOMKilled)",
            support=support(
                subject, 1.0, precedes=True if born and born <= scene.onset + _CLOCKS else None, steps=1
            ),
            evidence=(
                book.cite(EvidenceKind.CONFIG, ref, says, at=born, command=commands.show(case.pod)),
                cite_end(book, case, end),
                *(cite_event(book, event) for event in evicted[:1]),
            ),
            explains=_SQUEEZED,
            container=name,
            facts={"limit": limit, "container": name},
        )
    return None


def _evicts(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, live: JSON
) -> Hypothesis | None:
    """It replaces pods again and again, as what it wants for them changes or is not what they then get."""
    if text(live, "spec", "updatePolicy", "updateMode") not in _ACTING:
        return None
    since = seen_until(scene) - _LATELY
    evicted = [e for e in events_of(scene, subject, "EvictedByVPA") if e.last is not None and e.last >= since]
    often = sum(event.count for event in evicted)
    if often < _OFTEN:
        return None
    asked = any(_REPLACED.search(f"{signal.name} {signal.summary}") for signal in scene.signals)
    return Hypothesis(
        resource=ref,
        category=Category.LIMIT_RANGE,
        summary=f"{ref} evicted pods of {subject.ref} {often} times within two hours, to give them other requests",
        support=support(subject, 0.9 if asked else 0.6, steps=1),
        evidence=tuple(cite_event(book, event) for event in evicted[:2]),
        facts={"evictions": str(often)},
    )
