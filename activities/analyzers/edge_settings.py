"""An Ingress that turns requests away, or spoils them, since its settings were changed; what is behind it is well."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_log, cite_write
from cortexops.domain.diagnosis import Category, Hypothesis, Support
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import is_troubled, log_lines, own_subjects, serves_badly
from cortexops.domain.kubernetes import complaints, edge, meta
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import LogExcerpt, Scene
from cortexops.domain.seen import alerted_at
from cortexops.domain.topology import Relation

_LATELY = timedelta(hours=6)
_SLACK = timedelta(minutes=2)
_SEEN, _REFUSES, _MAY, _DOUBTFUL = 0.95, 0.75, 0.6, 0.45
_LAST_LINES = 20
_EXPLAINS = (Category.DEPENDENCY_DOWN,)


@analyzer("edge_settings")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if not serves_badly(scene) or any(is_troubled(scene, subject) for subject in own_subjects(scene)):
        return []
    found = []
    for ref, ingress in scene.of_kind("Ingress"):
        hypothesis = _of(scene, book, ref, ingress) if _leads_here(scene, ref) else None
        if hypothesis is not None:
            found.append(hypothesis)
    return found


def _leads_here(scene: Scene, ref: ResourceRef) -> bool:
    if scene.target.kind == "Ingress":
        return ref == scene.target
    own = {subject.ref for subject in own_subjects(scene)}
    routed = scene.topology.out(ref, Relation.ROUTES_TO)
    return scene.target in routed or any(
        workload in own for service in routed for workload in scene.topology.out(service, Relation.SELECTS)
    )


def _of(scene: Scene, book: EvidenceBook, ref: ResourceRef, ingress: JSON) -> Hypothesis | None:
    """The setting that was written lately, before all one of which the controller tells that it took effect."""
    best: tuple[float, edge.Setting, meta.Write, tuple[LogExcerpt, list[str]] | None] | None = None
    for setting in edge.settings(ingress):
        write = _written_lately(scene, ingress, setting.key)
        if write is None:
            continue
        told = _told(scene, ingress, setting)
        direct = _SEEN if told is not None else _unseen(scene, ref, ingress, setting, write)
        if best is None or direct > best[0]:
            best = direct, setting, write, told
    if best is None:
        return None
    direct, setting, write, told = best
    says = f"{setting.key} of {ref} was changed"
    evidence = [cite_write(book, ref, says, write, excerpt=f"{setting.key}: {setting.value[:200]}")]
    seen = ""
    if told is not None:
        log, lines = told
        evidence.append(cite_log(book, log.pod, log.container, log.previous, lines, "tells what it did"))
        seen = f"; {log.pod} tells of requests that it spoiled"
    at = f" at {write.at:%Y-%m-%d %H:%M:%S} UTC{by_whom(write)}"
    return Hypothesis(
        resource=ref,
        category=Category.EDGE_SETTING,
        summary=f"{ref} {setting.does} ({setting.key}: {setting.value[:80]}), changed{at}{seen}",
        support=Support(
            direct=direct,
            precedes_onset=True,
            touches_failing=True,
            distance=0 if ref == scene.target else 1,
            deterministic=True,
        ),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"setting": setting.key, "value": setting.value[:200]},
    )


def _written_lately(scene: Scene, ingress: JSON, key: str) -> meta.Write | None:
    write, born = meta.writes(ingress, "metadata", "annotations", key), meta.created(ingress)
    if write is None or born is None or write.at > alerted_at(scene) + _SLACK:
        return None
    if scene.clocks_apart:
        return write if write.at > born else None  # the order of writes is all that is known
    return write if write.at - born > _SLACK and write.at >= scene.onset - _LATELY else None


def _unseen(scene: Scene, ref: ResourceRef, ingress: JSON, setting: edge.Setting, write: meta.Write) -> float:
    """How likely it is where no controller tells of it: less where all of the Ingress was written at once, where the
    age of the write is not known, where the alert is about what is behind it, and where that complains itself."""
    tails = [
        line
        for subject in own_subjects(scene)
        for _, _, previous, lines in log_lines(scene, subject)
        for line in lines[-_LAST_LINES:]
        if not previous
    ]
    complains = any(
        each(tails) for each in (complaints.own_fault, complaints.unreachable, complaints.of_a_peer)
    )
    if (
        complains
        or scene.clocks_apart
        or ref != scene.target
        or meta.writes(ingress, "spec", "rules") == write
    ):
        return _DOUBTFUL
    return _REFUSES if setting.refuses else _MAY


def _told(scene: Scene, ingress: JSON, setting: edge.Setting) -> tuple[LogExcerpt, list[str]] | None:
    for log in scene.logs:
        its = edge.CONTROLLER.items() <= meta.labels(scene.get(log.pod) or {}).items()
        lines = edge.spoiled(setting, log.lines, edge.hosts_of(ingress)) if its else []
        if lines:
            return log, lines
    return None
