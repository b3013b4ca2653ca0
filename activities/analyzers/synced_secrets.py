"""Secrets that are missing, or out of date, because what should fill them fails."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, cite_event, cite_log, cite_waiting, events_of, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, log_lines, subjects, troubles
from cortexops.domain.kubernetes import complaints, pods, syncing
from cortexops.domain.kubernetes.meta import Condition
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_CLOCKS = timedelta(minutes=1)
_OF_STALE = (
    Category.CRASH, Category.READINESS_PROBE, Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN,
    Category.SERVICE_MISROUTED, Category.EXTERNAL_DEPENDENCY, Category.IMAGE_PULL_DENIED,
)  # fmt: skip
"""That a Secret was changed, or a release, is not among them: both are likelier reasons for a refusal."""
_OF_MISSING = (
    Category.CONFIG_MISSING, Category.SECRET_CHANGED, Category.CRASH, Category.CRASH_SINCE_RELEASE,
    Category.BAD_ROLLOUT, Category.READINESS_PROBE, Category.LIVENESS_PROBE, Category.STUCK_POD,
    Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED, Category.EXTERNAL_DEPENDENCY,
    Category.IMAGE_PULL_DENIED,
)  # fmt: skip


class _Need(NamedTuple):
    """How the subject shows that it misses what is in the Secret."""

    direct: float
    evidence: str
    says: str
    explains: tuple[Category, ...] = _OF_MISSING


@analyzer("synced_secrets")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        for secret in scene.topology.out(subject.ref, Relation.USES_SECRET):
            for ref in scene.topology.into(secret, Relation.ACTS_ON):
                failed = syncing.failure(ref.kind, scene.get(ref) or {})
                if failed is None or (failed.since and failed.since > scene.onset + _CLOCKS):
                    continue
                need = _missed(book, scene, subject, secret) or _refused(book, scene, subject)
                if need is not None:
                    found.append(_hypothesis(scene, book, subject, secret, ref, failed, need))
    return list({h.resource: h for h in reversed(found)}.values())


def _missed(book: EvidenceBook, scene: Scene, subject: Subject, secret: ResourceRef) -> _Need | None:
    """Pods that cannot start for want of the Secret, or of a key of it."""
    for case in troubles(scene, subject):
        message = case.state.waiting_message
        if case.state.waiting in pods.CONFIG_REASONS and complaints.names(message, secret.name):
            return _Need(1.0, cite_waiting(book, case), "is missed by")
    for event in events_of(scene, subject, "FailedMount", "Failed"):
        if complaints.names(event.message, secret.name) and "not found" in event.message.lower():
            return _Need(1.0, cite_event(book, event), "is missed by")
    return None


def _refused(book: EvidenceBook, scene: Scene, subject: Subject) -> _Need | None:
    """A program whose credentials are refused: what it was given is out of date."""
    for pod, container, previous, lines in log_lines(scene, subject):
        said = [
            line for line in complaints.about_credentials(lines) if not complaints.about_certificates([line])
        ]
        if said:
            cited = cite_log(book, pod, container, previous, said, "tells that credentials are refused")
            only = len(scene.topology.out(subject.ref, Relation.USES_SECRET)) == 1
            return _Need(0.8 if only else 0.6, cited, "is perhaps out of date for", _OF_STALE)
    return None


def _hypothesis(
    scene: Scene, book: EvidenceBook, subject: Subject, secret: ResourceRef, ref: ResourceRef, failed: Condition,
    need: _Need,
) -> Hypothesis:  # fmt: skip
    cause, said = ref, failed
    evidence = [cite_condition(book, ref, failed), need.evidence]
    for store in scene.topology.into(ref, Relation.ACTS_ON):
        its = syncing.failure(store.kind, scene.get(store) or {})
        if its is not None:
            cause, said = store, its
            evidence.insert(0, cite_condition(book, store, its))
    reason = f"{said.reason}: {said.message[:200]}" if said.message else said.reason
    through = "" if cause == ref else f" through {ref}"
    return Hypothesis(
        resource=cause,
        category=Category.SECRET_NOT_SYNCED,
        summary=f"{cause} fails ({reason}), so that {secret}{through} {need.says} {subject.ref}",
        support=support(subject, need.direct, precedes=True if said.since else None, steps=1),
        evidence=tuple(evidence),
        explains=need.explains,
        facts={"secret": secret.name},
    )
