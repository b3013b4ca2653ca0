"""Workloads that are well, do not keep up, and were given fewer pods before the trouble began."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.callees import with_callees
from cortexops.domain.citing import by_whom, cite_event, cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, is_troubled, serves_badly
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.values import dig, text
from cortexops.domain.scene import EventFact, Scene
from cortexops.domain.topology import Relation

_LATELY = timedelta(hours=24)
_SLACK = timedelta(minutes=2)
_FROM = re.compile(r"^Scaled down replica set (\S+) (?:from (\d+) to (\d+)|to (\d+) from (\d+))")
_APPLIED = re.compile(r"\"replicas\":\s*(\d{1,5})\b")
_MOST_OF_THEM, _SOME = 0.85, 0.62
_EXPLAINS = (Category.CRASH, Category.DEPENDENCY_DOWN)


class _Fewer(NamedTuple):
    before: int
    now: int
    write: meta.Write | None
    event: EventFact | None


@analyzer("scaled_down")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if not serves_badly(scene):
        return []
    found = []
    for called in with_callees(scene, lambda callee: _fewer(scene, callee) is not None):
        subject = called.subject
        fewer = _fewer(scene, subject)
        if fewer is None or is_troubled(scene, subject):
            continue  # where pods fail, what they fail of comes first
        says = f"{subject.ref} was scaled from {fewer.before} to {fewer.now} pods"
        evidence = [cite_write(book, subject.ref, says, fewer.write, unknown=EvidenceKind.STATUS)]
        if fewer.event is not None:
            evidence.append(cite_event(book, fewer.event))
        if called.said is not None:
            evidence.append(cite_log(book, *called.said, "complains of it"))
        found.append(
            Hypothesis(
                resource=subject.ref,
                category=Category.SCALED_DOWN,
                summary=f"{says}{by_whom(fewer.write)} before the trouble began; all of them are well",
                support=support(
                    subject, _MOST_OF_THEM if 2 * fewer.now <= fewer.before else _SOME, precedes=True
                ),
                evidence=tuple(evidence),
                explains=_EXPLAINS,
                facts={"replicas": str(fewer.now), "replicas_before": str(fewer.before)},
            )
        )
    return found


def _fewer(scene: Scene, subject: Subject) -> _Fewer | None:
    """How many pods it had before somebody gave it fewer, shortly before the trouble; no autoscaler's doing."""
    now = pods.wanted_replicas(subject.obj)
    if subject.ref.kind not in ("Deployment", "StatefulSet") or now == 0:
        return None
    if scene.clocks_apart or scene.topology.into(subject.ref, Relation.SCALES):
        return None
    write = meta.writes(subject.obj, "spec", "replicas")
    if write is not None and not scene.onset - _LATELY <= write.at <= scene.onset + _SLACK:
        return None
    for event in scene.events_about(subject.ref, "ScalingReplicaSet"):
        match = _FROM.match(event.message)
        at = event.last or event.first
        if match is None or at is None or not scene.onset - _LATELY <= at <= scene.onset + _SLACK:
            continue
        before, after = int(match.group(2) or match.group(5)), int(match.group(3) or match.group(4))
        if after == now < before and match.group(1) == _present(scene, subject):
            return _Fewer(before, now, write, event)
    applied = _APPLIED.search(
        text(subject.obj, "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
    )
    if write is not None and applied is not None and now < int(applied.group(1)):
        return _Fewer(int(applied.group(1)), now, write, None)
    return None


def _present(scene: Scene, subject: Subject) -> str:
    """The ReplicaSet of the present revision: an older one shrinks with every rollout."""
    revisions = scene.revisions(subject.ref)
    return str(dig(revisions[0][2], "metadata", "name") or "") if revisions else ""
