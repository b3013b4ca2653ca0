"""Autoscalers that may not grow any more, or that have nothing to go by."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    by_whom,
    cite_complaint,
    cite_condition,
    cite_event,
    cite_log,
    cite_write,
    support,
)
from cortexops.domain.complained_of import complained_of
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import (
    Subject,
    backing,
    is_troubled,
    log_lines,
    own_subjects,
    serves_badly,
    signal_types,
    subjects,
)
from cortexops.domain.kubernetes import commands, hpa, meta, pods
from cortexops.domain.kubernetes.hpa import condition
from cortexops.domain.kubernetes.remembered import Remembered
from cortexops.domain.kubernetes.values import moment, number, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of

_FAILED = (
    "FailedGetResourceMetric", "FailedGetContainerResourceMetric", "FailedGetPodsMetric", "FailedGetObjectMetric",
    "FailedGetExternalMetric", "FailedComputeMetricsReplicas",
)  # fmt: skip
_CONTROLLERS = ("kube-controller-manager", "")
_TWICE = "AmbiguousSelector"  # more than one autoscaler selects the same pods
_LATELY = timedelta(hours=24)
_CUT = "above Spec.MaxReplicas"  # why a controller removed pods: there were more than are allowed now
_SCALED_DOWN = re.compile(r"^Scaled down replica set \S+ to (\d+) from (\d+)")
_OVERLOADED = Remembered(
    r"(?i)(queue (?:is )?(?:full|overflow)|queue size exceeded|(?:in|waiting in) (?:the )?queue|overload"
    r"|too many requests|too busy|load.?shed|shedding|reject(?:ing|ed).{0,40}(?:503|429|request|task|queue)"
    r"|at capacity|capacity exceeded|concurrency limit|no (?:free|idle) workers?|all workers (?:are )?busy)"
)
_EXPLAINS = (Category.DEPENDENCY_DOWN, Category.CRASH)


@analyzer("autoscaling")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in own_subjects(scene):
        for ref in scene.topology.into(subject.ref, Relation.SCALES):
            scaler = scene.get(ref)
            if scaler is None:
                continue
            for each in (_without_metrics, _at_most, _written_against):
                hypothesis = each(scene, book, subject, ref, scaler)
                if hypothesis is not None:
                    found.append(hypothesis)
    return found + _without_target(scene, book) + _upstream(scene, book)


def _without_target(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """The autoscaler, the alert's own target, cannot even ask how many pods there are: mostly there is no such
    workload."""
    ref, live = scene.target, scene.get(scene.target)
    able = condition(live or {}, "AbleToScale")
    if ref.kind != "HorizontalPodAutoscaler" or live is None or able.reason != "FailedGetScale":
        return []
    scaled = f"{text(live, 'spec', 'scaleTargetRef', 'kind')} {text(live, 'spec', 'scaleTargetRef', 'name')}"
    return [
        Hypothesis(
            resource=ref,
            category=Category.HPA_NO_METRICS,
            summary=f"{ref} cannot scale {scaled}: {able.message[:200]}",
            support=support(Subject(ref, live, ()), 0.95),
            evidence=(cite_condition(book, ref, able),),
            facts={"autoscaler": ref.name},
        )
    ]


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
    told = active.message[:200]
    down = _metrics_server(scene, book, scaler, evidence)
    if down is not None:
        resource, told = down
    return Hypothesis(
        resource=resource,
        category=Category.HPA_NO_METRICS if down is None else Category.DEPENDENCY_DOWN,
        summary=f"{ref} cannot compute the replicas of {subject.ref}, {why}: {told}",
        support=support(subject, 0.95, steps=0 if scene.target == ref and down is None else 1),
        evidence=tuple(evidence),
        facts={"autoscaler": ref.name},
    )


def _written_against(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, scaler: JSON
) -> Hypothesis | None:
    """It wants more pods and may have them, and somebody else writes fewer each time: mostly what delivers it."""
    wants, has = number(scaler, "status", "desiredReplicas"), pods.wanted_replicas(subject.obj)
    write = meta.writes(subject.obj, "spec", "replicas")
    scaled = moment(scaler, "status", "lastScaleTime")
    works = condition(scaler, "ScalingActive").status == "True" and _asked(scene, ref)
    if not works or scene.clocks_apart or write is None or scaled is None or not 0 < has < wants:
        return None
    if write.manager in _CONTROLLERS or write.at < scaled:
        return None
    says = f"the replicas of {subject.ref} were written last by {write.manager}"
    events = [
        e for e in scene.events_about(subject.ref, "ScalingReplicaSet") if _SCALED_DOWN.match(e.message)
    ]
    return Hypothesis(
        resource=subject.ref,
        category=Category.SCALED_DOWN,
        summary=f"{ref} wants {wants} replicas of {subject.ref}, and {write.manager} has set them to {has} since it"
        " last scaled: the two write against one another",
        support=support(subject, 0.9),
        evidence=(
            cite_write(book, subject.ref, says, write),
            book.cite(
                EvidenceKind.STATUS, ref, f"{ref} wants {wants} replicas", command=commands.describe(ref)
            ),
            *(cite_event(book, event) for event in events[:1]),
        ),
        facts={"autoscaler": ref.name, "replicas": str(has), "replicas_before": str(wants)},
    )


def _metrics_server(
    scene: Scene, book: EvidenceBook, scaler: JSON, evidence: list[str]
) -> tuple[ResourceRef, str] | None:
    """Who serves the metrics that were asked for in vain, where none of its pods is ready, and what it says."""
    group = hpa.unanswered_group(scaler)
    serving = hpa.metrics_service(group, (live for _, live in scene.of_kind("APIService"))) if group else None
    for server in backing(scene, scene.ref("Service", *serving)) if serving is not None else ():
        live = scene.get(server) or {}
        if not live or pods.ready_replicas(live):
            continue
        evidence.append(
            book.cite(
                EvidenceKind.STATUS, server, f"{server} has no ready pods", command=commands.describe(server)
            )
        )
        cited, said = cite_complaint(book, scene, subject_of(scene, server))
        evidence += cited
        return server, f"{server}, which serves {group}, has no ready pods{said}"
    return None


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
    cut = _cut(scene, book, subject, ref, scaler)
    about = scene.target == ref or (serves_badly(scene) and not is_troubled(scene, subject))
    direct = 0.95 if scene.target == ref else (0.85 if cut.surely else 0.75) if about else 0.55
    return Hypothesis(
        resource=ref,
        category=Category.HPA_MAXED_OUT,
        summary=f"{ref} is at its maximum of {most} replicas and wants more for {subject.ref}{cut.says}",
        support=support(subject, direct, precedes=cut.precedes, steps=0 if about else 1),
        evidence=(*evidence, *cut.evidence),
        explains=_EXPLAINS if cut.surely else (),
        facts={"autoscaler": ref.name, "max_replicas": str(most)},
    )


class _Cut(NamedTuple):
    """What is known of a change of the maximum shortly before the trouble."""

    surely: bool
    """It was lowered: pods were removed for it. Otherwise it was written, or nothing is known."""
    says: str
    precedes: bool | None
    evidence: tuple[str, ...]


def _cut(scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, scaler: JSON) -> _Cut:
    most = number(scaler, "spec", "maxReplicas")
    write = meta.writes(scaler, "spec", "maxReplicas")
    born = meta.created(scaler)
    if write is not None and not (
        scene.onset - _LATELY <= write.at <= scene.onset and (born is None or write.at > born)
    ):
        write = None
    events = [
        event
        for event in scene.events_about(ref, "SuccessfulRescale")
        if _CUT in event.message and (event.last is None or event.last <= scene.onset)
    ]
    removed = [
        (event, match)
        for event in scene.events_about(subject.ref, "ScalingReplicaSet")
        if (match := _SCALED_DOWN.match(event.message))
        and int(match.group(1)) == most < int(match.group(2))
        and (write is None or event.last is None or event.last >= write.at)
    ]
    surely = bool(events) or (write is not None and bool(removed))
    evidence = [cite_event(book, event) for event in events[:1]]
    evidence += [cite_event(book, event) for event, _ in removed[:1] if surely]
    if write is not None:
        evidence.append(cite_write(book, ref, f"the maximum of {ref} was written", write))
    before = f" from {removed[0][1].group(2)}" if removed else ""
    says = f"; its maximum was lowered{before}{by_whom(write)} before the trouble began" if surely else ""
    return _Cut(surely, says, True if surely or write is not None else None, tuple(evidence))


def _upstream(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """Of callees: the target, or somebody on the way to them, complains of them, and they may not grow."""
    if not serves_badly(scene):
        return []
    own = {subject.ref for subject in own_subjects(scene)}
    callees = {subject.ref: (subject, "") for subject in subjects(scene) if subject.ref not in own}
    for heard in complained_of(scene):
        if heard.callee.ref not in own:
            cited = cite_log(
                book, heard.pod, heard.container, heard.previous, heard.lines,
                f"complains about {heard.service.name}",
            )  # fmt: skip
            callees[heard.callee.ref] = (heard.callee, cited)
    found = []
    for subject, complaint in callees.values():
        for ref in scene.topology.into(subject.ref, Relation.SCALES):
            hypothesis = _callee_at_most(scene, book, subject, ref, complaint)
            if hypothesis is not None:
                found.append(hypothesis)
    return found


def _callee_at_most(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, complaint: str
) -> Hypothesis | None:
    scaler = scene.get(ref) or {}
    limited = condition(scaler, "ScalingLimited")
    if limited.status != "True" or limited.reason != "TooManyReplicas":
        return None
    cut = _cut(scene, book, subject, ref, scaler)
    overloaded = [
        (pod, container, previous, lines)
        for pod, container, previous, told in log_lines(scene, subject)
        if (lines := [line for line in told if _OVERLOADED.search(line)])
    ]
    pressed = hpa.overloaded(scaler)
    since = limited.since is not None and scene.onset - _LATELY <= limited.since
    if not overloaded and not cut.surely and not (pressed and since):
        return None  # at its maximum, as many are for long
    most = number(scaler, "spec", "maxReplicas")
    evidence = [cite_condition(book, ref, limited), *cut.evidence]
    evidence += [cite_log(book, *each, "tells that it has too much to do") for each in overloaded[:1]]
    direct = (0.95 if overloaded else 0.85) if cut.surely else 0.75 if cut.precedes else 0.6
    return Hypothesis(
        resource=ref,
        category=Category.HPA_MAXED_OUT,
        summary=f"{ref} is at its maximum of {most} replicas and wants more for {subject.ref}, of which"
        f" its callers complain{cut.says}" + (f"; {pressed}" if pressed else ""),
        support=support(
            subject,
            direct if not is_troubled(scene, subject) else min(direct, 0.6),
            precedes=cut.precedes,
            steps=1,
        ),
        evidence=(*([complaint] if complaint else []), *evidence),
        explains=_EXPLAINS if cut.surely or cut.precedes else (),
        facts={"autoscaler": ref.name, "max_replicas": str(most)},
    )
