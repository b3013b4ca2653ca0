"""Pods that were evicted because they wrote more to their own disk space than they may."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, seen_until, subjects
from cortexops.domain.kubernetes import commands, meta
from cortexops.domain.kubernetes.values import text
from cortexops.domain.scene import Scene

_OWN_LIMIT = re.compile(
    r"(?i)(ephemeral local storage usage exceeds the total limit of containers \S+"
    r"|usage of emptydir volume \"[^\"]+\" exceeds the limit \"?[\w.]+"
    r"|container \S+ exceeded its local ephemeral storage limit \"?[\w.]+)"
)
_RECENT = timedelta(hours=1)
_EXPLAINS = (Category.CRASH, Category.READINESS_PROBE, Category.BAD_ROLLOUT, Category.DEPENDENCY_DOWN)


@analyzer("ephemeral_storage")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    return [found for subject in subjects(scene) if (found := _of(scene, book, subject)) is not None]


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    evidence: list[str] = []
    said = ""
    for ref, pod in subject.pods:
        match = _OWN_LIMIT.search(text(pod, "status", "message"))
        at = meta.condition(pod, "DisruptionTarget").since or meta.created(pod)
        if text(pod, "status", "reason") != "Evicted" or match is None:
            continue
        if at is not None and seen_until(scene) - at > _RECENT:
            continue
        said = said or match.group(0).strip().rstrip(".")
        evidence.append(
            book.cite(
                EvidenceKind.STATUS, ref, f"{ref} was evicted: {match.group(0)}", at=at,
                command=commands.describe(ref),
            )
        )  # fmt: skip
    if not evidence:
        return None
    return Hypothesis(
        resource=subject.ref,
        category=Category.DISK_EXHAUSTED,
        summary=f"pods of {subject.ref} are evicted for what they write to their own disk space: {said}",
        support=support(subject, 0.95),
        evidence=tuple(evidence[:3]),
        explains=_EXPLAINS,
        facts={"pod": subject.pods[0][0].name},
    )
