"""Workloads whose pods look well and that answer slowly since a release took most of their CPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from activities.analyzers import analyzer
from cortexops.domain.callees import Called, with_callees
from cortexops.domain.change import DiffLine
from cortexops.domain.citing import cite_log, cite_release, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, log_lines, serves_badly, signal_types
from cortexops.domain.kubernetes import complaints, last_words
from cortexops.domain.kubernetes.values import amount, objects, text
from cortexops.domain.neighbours import cut_cpu
from cortexops.domain.releases import Release, release_of, runs
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Measure, Scene
from cortexops.domain.signal import SignalType

_EXPLAINS = (
    Category.DEPENDENCY_DOWN, Category.CRASH, Category.BAD_ROLLOUT, Category.READINESS_PROBE, Category.LIVENESS_PROBE,
)  # fmt: skip
_SLOW = re.compile(
    r"(?i)(\bslow(?:ly)?\b(?!.?(?:start|log|query log))|\btook (?:over |more than )?(?:\d{4,} ?ms|\d+(?:\.\d+)? ?s)\b"
    r"|\belapsed\w*[\"']?[=: ]+\d{4,}|\btoo slow\b|\btook too long\b|\btiming out\b|\bthrottl)"
)
_MILD = re.compile(r"(?i)\b(?:debug|trace)\b")
_FULL = Decimal("0.9")  # of the limit
_SHOWN, _WITHOUT = 0.88, 0.68
_WAITS_ITSELF = 0.6  # it may be slow because others are


@analyzer("starved_release")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if not serves_badly(scene):
        return []
    found = []
    for called in with_callees(scene, lambda callee: _cut(scene, callee) is not None):
        cut = _cut(scene, called.subject)
        if cut is not None:
            found.append(_of(scene, book, called, *cut))
    return [each for each in found if each is not None]


def _cut(scene: Scene, subject: Subject) -> tuple[Release, DiffLine] | None:
    """The release that took the CPU, if it came before the trouble and pods of it serve."""
    release = release_of(scene, subject)
    line = cut_cpu(release) if release is not None and release.precedes(scene.onset) else None
    if release is None or line is None or not any(runs(release, pod) for _, pod in subject.pods):
        return None
    return release, line


def _of(
    scene: Scene, book: EvidenceBook, called: Called, release: Release, line: DiffLine
) -> Hypothesis | None:
    subject = called.subject
    evidence = [cite_release(book, subject, release)]
    heard = _says_slow(scene, subject)
    full = _at_its_limit(scene, subject)
    waits = complaints.slow(called.said[3]) if called.said is not None else []
    if called.said is not None and waits:
        pod, container, previous, _ = called.said
        evidence.append(cite_log(book, pod, container, previous, waits, "waits for it in vain"))
    elif not (heard and SignalType.LATENCY in signal_types(scene)) and not full:
        return None  # nobody finds it slow
    if heard is not None:
        evidence.append(cite_log(book, *heard, "tells that it is slow"))
    if full is not None:
        evidence.append(book.cite(EvidenceKind.METRIC, full.about, full.says, at=full.at))
    others = any(complaints.slow(lines) for _, _, _, lines in log_lines(scene, subject))
    direct = (_SHOWN if heard or full else _WITHOUT) * (_WAITS_ITSELF if others and not full else 1)
    said = f": “{last_words.quoted(heard[3][-1])}”" if heard is not None else ""
    named = (text(each, "name") for each in objects(release.after, "spec", "containers"))
    name = next((each for each in named if cut_cpu(release, each) == line), "")
    before, after = line.before.strip('"'), line.after.strip('"')
    whom = f"; {called.by.ref} waits for it in vain" if called.by is not None and waits else ""
    return Hypothesis(
        resource=subject.ref,
        category=Category.CPU_THROTTLING,
        summary=f"{subject.ref} answers slowly since revision {release.revision} lowered its CPU limit from {before} to"
        f" {after}{said}{whom}",
        support=support(subject, direct, precedes=True),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        container=name,
        facts=release.facts() | {"container": name, "cpu_limit": after},
    )


def _says_slow(scene: Scene, subject: Subject) -> tuple[ResourceRef, str, bool, Sequence[str]] | None:
    for pod, container, previous, lines in log_lines(scene, subject):
        told = [line for line in lines if _SLOW.search(line) and not _MILD.search(line)]
        if told and not previous:
            return pod, container, previous, told
    return None


def _at_its_limit(scene: Scene, subject: Subject) -> Measure | None:
    """What was measured of a container that uses all the CPU that it may."""
    own = dict(subject.pods)
    for measure in scene.measured:
        if measure.what != "cpu_cores" or measure.about not in own:
            continue
        for container in objects(own[measure.about], "spec", "containers"):
            limit = amount(container, "resources", "limits", "cpu")
            meant = text(container, "name") == measure.container
            if limit and meant and Decimal(str(measure.value)) >= limit * _FULL:
                return measure
    return None
