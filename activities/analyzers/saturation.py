"""Connections that have run out: at a server for all its callers, or in a program's own pool."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_release, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, backing, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import complaints, meta
from cortexops.domain.kubernetes.values import texts
from cortexops.domain.releases import release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.stores import called_store
from cortexops.domain.topology import Relation

_EXPLAINS = (
    Category.CRASH, Category.READINESS_PROBE, Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN,
    Category.BAD_ROLLOUT, Category.SERVICE_MISROUTED, Category.SECRET_CHANGED,
)  # fmt: skip
_POOL = re.compile(r"(?i)(pool|connection|conn_|max_idle|max_open)")


@analyzer("saturation")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        for pod, container, previous, lines in log_lines(scene, subject):
            said = complaints.saturated(lines)
            if said:
                cited = cite_log(book, pod, container, previous, said, "tells that connections ran out")
                found.append(_of(scene, book, subject, said, cited))
                break
    return found


def _of(scene: Scene, book: EvidenceBook, subject: Subject, said: list[str], cited: str) -> Hypothesis:
    evidence = [cited]
    at_server = any(complaints.at_server(line) for line in said)
    changed = _pool_setting(scene, book, subject, evidence)
    if changed is not None:
        ref, key = changed
        return _hypothesis(
            subject, ref, f"key {key} of {ref} was changed and {subject.ref} runs out of connections",
            evidence, 0.95, steps=1, precedes=True, facts={"key": key},
        )  # fmt: skip
    if at_server:
        server = _server(scene, subject, said)
        if server is not None:
            return _hypothesis(
                subject, server, f"{server} has no connections left for {subject.ref}: {said[-1][:160]}",
                evidence, 0.9, steps=2,
            )  # fmt: skip
    release = release_of(scene, subject)
    if release is not None and release.precedes(scene.onset):
        evidence.append(cite_release(book, subject, release))
        summary = f"{subject.ref} runs out of connections since revision {release.revision}: {said[-1][:160]}"
        return _hypothesis(subject, subject.ref, summary, evidence, 0.8, precedes=True, facts=release.facts())
    summary = f"the connection pool of {subject.ref} is exhausted: {said[-1][:160]}"
    return _hypothesis(subject, subject.ref, summary, evidence, 0.85)


def _hypothesis(
    subject: Subject, resource: ResourceRef, summary: str, evidence: list[str], direct: float, *,
    steps: int = 0, precedes: bool | None = None, facts: dict[str, str] | None = None,
) -> Hypothesis:  # fmt: skip
    config = resource.kind == "ConfigMap"
    return Hypothesis(
        resource=resource,
        category=Category.CONFIGMAP_CHANGED if config else Category.CONNECTION_SATURATION,
        summary=summary,
        support=support(subject, direct, precedes=precedes, steps=steps),
        evidence=tuple(evidence),
        explains=(*_EXPLAINS, Category.CONNECTION_SATURATION) if config else _EXPLAINS,
        facts=facts or {},
    )


def _pool_setting(
    scene: Scene, book: EvidenceBook, subject: Subject, evidence: list[str]
) -> tuple[ResourceRef, str] | None:
    """A key about pools or connections, of a ConfigMap that the subject reads, changed before the trouble."""
    for ref in scene.topology.out(subject.ref, Relation.USES_CONFIG):
        live = scene.get(ref) or {}
        general = meta.created(live)
        for key, write in meta.key_writes(live).items():
            late = general is None or write.at > general
            if _POOL.search(key) and late and write.at <= scene.onset:
                excerpt = f"{key}: {texts(live, 'data').get(key, '')[:200]}"
                evidence.append(
                    cite_write(book, ref, f"key {key} of {ref} was changed", write, excerpt=excerpt)
                )
                return ref, key
    return None


def _server(scene: Scene, subject: Subject, said: list[str]) -> ResourceRef | None:
    """Whoever is behind the store that the lines are about; its Service where nobody is known."""
    service = called_store(scene, subject, said)
    if service is None:
        return None
    return next(iter(backing(scene, service)), service)
