"""A new revision whose pods do not become ready, whatever the deeper reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    by_whom,
    cite_condition,
    cite_event,
    cite_log,
    cite_release,
    cite_replicas,
    cite_write,
    support,
)
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, log_lines, subjects
from cortexops.domain.kubernetes import complaints, last_words, meta, pods
from cortexops.domain.kubernetes.nodes import being_set_up
from cortexops.domain.kubernetes.values import dig, number
from cortexops.domain.neighbours import cut_cpu
from cortexops.domain.releases import Release, changed, release_of, runs
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.warming import is_warming_up
from cortexops.domain.words import counted

_SET_UP_BY = (
    "volumes",
    "serviceAccount",
    "runtimeClass",
    "hostNetwork",
    "hostPort",
    "nodeSelector",
    "affinity",
)

_KILLED = re.compile(r"failed (liveness|startup) probe")
_LONG_WAIT = timedelta(minutes=10)
"""The deadline in which a Deployment is to make progress, when it names none."""


@analyzer("rollout")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    return [
        found
        for subject in subjects(scene)
        for each in (_stuck, _paused, _held_back)
        if (found := each(scene, book, subject)) is not None
    ]


def _paused(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """Somebody paused the rollout, and it has not been finished."""
    if subject.ref.kind != "Deployment" or dig(subject.obj, "spec", "paused") is not True:
        return None
    wanted = pods.wanted_replicas(subject.obj)
    updated = number(subject.obj, "status", "updatedReplicas")
    if updated >= wanted and pods.ready_replicas(subject.obj) >= wanted:
        return None
    write = meta.writes(subject.obj, "spec", "paused")
    says = f"the rollout of {subject.ref} is paused"
    cited = cite_write(book, subject.ref, says, write, unknown=EvidenceKind.CONFIG)
    return Hypothesis(
        resource=subject.ref,
        category=Category.ROLLOUT_PAUSED,
        summary=f"{says}{by_whom(write)}: {updated} of {wanted} pods run the present revision",
        support=support(subject, 0.9, precedes=True if write and write.at <= scene.onset else None),
        evidence=(cited,),
        explains=(Category.BAD_ROLLOUT,),
    )


def _held_back(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """New pods are well, and are not counted as available for as long as `minReadySeconds` says."""
    seconds = number(subject.obj, "spec", "minReadySeconds")
    wanted = pods.wanted_replicas(subject.obj)
    updated = number(subject.obj, "status", "updatedReplicas")
    ready, available = pods.ready_replicas(subject.obj), number(subject.obj, "status", "availableReplicas")
    if timedelta(seconds=seconds) < _LONG_WAIT or (updated >= wanted and available >= wanted):
        return None
    if any(pods.is_unready(pod) for _, pod in subject.pods):
        return None  # then that is what it waits for
    write = meta.writes(subject.obj, "spec", "minReadySeconds")
    says = f"{subject.ref} asks of a new pod that it be ready for {seconds} s (minReadySeconds)"
    return Hypothesis(
        resource=subject.ref,
        category=Category.ROLLOUT_SLOW,
        summary=f"{says}{by_whom(write)} before it goes on: {updated} of {wanted} pods run the present revision,"
        f" {max(0, ready - available)} ready ones are not counted as available yet",
        support=support(subject, 0.85, precedes=True if write and write.at <= scene.onset else None),
        evidence=(
            cite_write(book, subject.ref, says, write, unknown=EvidenceKind.CONFIG),
            cite_replicas(book, subject, ready, wanted),
        ),
        facts={"min_ready_seconds": str(seconds)},
    )


def _stuck(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    release = release_of(scene, subject)
    if release is None:
        return None
    new_pods = [(ref, pod) for ref, pod in subject.pods if runs(release, pod)]
    new = [pod for _, pod in new_pods]
    unready = [pod for pod in new if pods.is_unready(pod)]
    old_ready = [pod for _, pod in subject.pods if not runs(release, pod) and pods.is_ready(pod)]
    progressing = meta.condition(subject.obj, "Progressing")
    overdue = progressing.status == "False" and progressing.reason == "ProgressDeadlineExceeded"
    if not overdue and all(is_warming_up(scene, ref, pod) for ref, pod in new_pods if pods.is_unready(pod)):
        return None  # none is unready, or for its youth alone
    ready, wanted = pods.ready_replicas(subject.obj), pods.wanted_replicas(subject.obj)
    evidence = [cite_release(book, subject, release), cite_replicas(book, subject, ready, wanted)]
    if overdue:
        evidence.append(cite_condition(book, subject.ref, progressing))
    precedes = True if release.precedes(scene.onset) else None
    if not precedes and not overdue:
        return None  # an old release is not what broke it now
    none = not any(pods.is_ready(pod) for pod in new)
    own, said = _own_words(scene, book, subject, release, evidence) if unready else (False, "")
    direct = 0.8 if overdue or (old_ready and none) else (0.75 if own else 0.55) if none else 0.5
    starved = none and cut_cpu(release) is not None
    if starved:
        direct = max(direct, 0.85)
    if unready and all(being_set_up(pod) for pod in unready) and not changed(release, *_SET_UP_BY):
        direct = min(direct, 0.4)  # their node does not set them up, and the release changed nothing of that
    return Hypothesis(
        resource=subject.ref,
        category=Category.BAD_ROLLOUT,
        summary=f"revision {release.revision} of {subject.ref} does not become ready"
        f" ({len(unready)} of {counted(len(new), 'new pod')} unready, {counted(len(old_ready), 'pod')} of before"
        f" still serve{'s' if len(old_ready) == 1 else ''})"
        + (f", saying “{said}”" if said else "")
        + ("; it cut the CPU that they may use" if starved else "")
        + (_killed_starting(scene, book, new_pods, evidence) if starved else ""),
        support=support(subject, direct if precedes else direct * 0.6, precedes=precedes),
        evidence=tuple(dict.fromkeys(evidence)),
        explains=(
            *((Category.DEPENDENCY_DOWN,) if subject.upstream else ()),  # it says why that callee is down
            *((Category.READINESS_PROBE, Category.LIVENESS_PROBE) if starved else ()),
        ),
        facts=release.facts(),
    )


def _killed_starting(
    scene: Scene, book: EvidenceBook, new_pods: Sequence[tuple[ResourceRef, JSON]], evidence: list[str]
) -> str:
    """That a probe kills new containers which were never ready, in words; "" where none does."""
    for ref, pod in new_pods:
        for event in scene.events_about(ref, "Killing") if not pods.is_ready(pod) else ():
            match = _KILLED.search(event.message)
            if match is not None:
                evidence.append(cite_event(book, event))
                return f", and their {match.group(1)} probe kills them before they have started"
    return ""


def _own_words(
    scene: Scene, book: EvidenceBook, subject: Subject, release: Release, evidence: list[str]
) -> tuple[bool, str]:
    """What an unready pod of the new revision says is wrong: with itself (true), or else with anything."""
    other = ""
    for pod, container, previous, lines in log_lines(scene, subject):
        live = scene.get(pod) or {}
        if not pods.is_unready(live) or not runs(release, live):
            continue
        wrong = complaints.own_fault(lines)
        if wrong:
            evidence.append(cite_log(book, pod, container, previous, wrong, "complains"))
            return True, last_words.telling(wrong)
        wrong = complaints.complaining(lines)
        if wrong and not other:
            evidence.append(cite_log(book, pod, container, previous, wrong, "complains"))
            other = last_words.telling(wrong)
    return False, other
