"""Somebody whom a workload calls was given another configuration or Secret and started again with it, or told that it
read it again, and since then the workload complains about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import commands, complaints, last_words
from cortexops.domain.kubernetes.values import texts
from cortexops.domain.releases import release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.restarted import Restart, reread_with, restarted_with, tells_of, written_at
from cortexops.domain.scene import Scene
from cortexops.domain.seen import backing, line_names
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of

_EXPLAINS = (
    Category.DEPENDENCY_DOWN, Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT,
    Category.READINESS_PROBE, Category.LIVENESS_PROBE,
)  # fmt: skip
_SHOWN = 200  # characters
_SOON = timedelta(hours=1)
_TOLD, _COMPLAINS, _SILENT, _BESIDE = 0.88, 0.72, 0.55, 0.8


class _Case(NamedTuple):
    subject: Subject
    server: Subject
    ref: ResourceRef
    restart: Restart
    said: tuple[ResourceRef, str, bool, list[str]]


@analyzer("restarted_callee")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    cases: dict[ResourceRef, _Case] = {}
    for subject in subjects(scene):
        if is_troubled(scene, subject) or serves_badly(scene):
            for case in _cases(scene, subject):
                cases.setdefault(case.ref, case)
    if len(cases) > 1:
        return []  # any of them may be it
    return [_of(scene, book, case) for case in cases.values()]


def _cases(scene: Scene, subject: Subject) -> Iterator[_Case]:
    own = set(scene.topology.out(subject.ref, Relation.USES_CONFIG, Relation.USES_SECRET))
    for service in scene.topology.out(subject.ref, Relation.CALLS):
        said = _about(scene, subject, service)
        for ref in backing(scene, service) if said is not None else ():
            server = subject_of(scene, ref, subject.distance + 2, subject.weight)
            for config in scene.topology.out(ref, Relation.USES_CONFIG, Relation.USES_SECRET):
                restart = restarted_with(scene, server, config) if config not in own else None
                if restart is None and config not in own:
                    restart = reread_with(scene, server, config)
                if restart is None or said is None or ref == subject.ref:
                    continue
                if config.kind == "Secret" and not complaints.about_credentials(said[3]):
                    continue  # what it holds is how they sign in, or by what they know each other
                times = [at for line in said[3] if (at := written_at(line)) is not None]
                if not times or scene.clocks_apart or min(times) >= restart.write.at:
                    yield _Case(subject, server, config, restart, said)


def _about(
    scene: Scene, subject: Subject, service: ResourceRef
) -> tuple[ResourceRef, str, bool, list[str]] | None:
    """(pod, container, previous, lines) of complaints of any sort that name the Service's address."""
    for pod, container, previous, lines in log_lines(scene, subject):
        told = [
            line
            for line in complaints.complaining(lines)
            if line_names(scene, line, service, subject.ref.namespace) or _speaks_of(line, service.name)
        ]
        if told:
            return pod, container, previous, told
    return None


def _speaks_of(line: str, name: str) -> bool:
    """Whether it tells, as `limiter: …`, what somebody of that name answered; a name alone may be any word."""
    return re.search(rf"(?<![\w./-]){re.escape(name)}: ", line) is not None


def _of(scene: Scene, book: EvidenceBook, case: _Case) -> Hypothesis:
    subject, server, ref, restart, (pod, container, previous, said) = case
    obj = scene.get(ref) or {}
    what = f"key {restart.key} of {ref}" if restart.key else str(ref)
    value = texts(obj, "data").get(restart.key, "")
    evidence = [
        cite_write(
            book, ref, f"{what}, which {server.ref} reads, was changed", restart.write,
            excerpt=f"{restart.key}: {value[:_SHOWN]}" if restart.key and ref.kind == "ConfigMap" else "",
        ),
        book.cite(
            EvidenceKind.STATUS, server.ref,
            f"{server.ref} told after that that it had read it again" if restart.reread
            else f"all that runs of {server.ref} began after that",
            at=restart.at, command=commands.describe(server.ref),
        ),
        cite_log(book, pod, container, previous, said, "complains of it since"),
    ]  # fmt: skip
    direct, shown = _SILENT, ""
    for its_pod, its, before, lines in log_lines(scene, server):
        told = [] if before else tells_of(obj, restart.key, lines)
        wrong = [line for line in complaints.complaining(lines) if not before]
        if told or wrong:
            evidence.append(
                cite_log(book, its_pod, its, before, told or wrong, "tells of it" if told else "complains")
            )
            direct, shown = (_TOLD, told[-1]) if told else (_COMPLAINS, wrong[-1])
            break
    own = release_of(scene, subject)
    if restart.released or (
        own is not None and own.precedes(scene.onset) and (own.at or restart.at) > restart.at
    ):
        direct *= _BESIDE  # a release is as likely
    if scene.onset - restart.at > _SOON:
        direct *= _BESIDE
    did = "read it again" if restart.reread else "started again with it"
    says = f"; {server.ref} says “{last_words.quoted(shown)}”" if shown else ""
    return Hypothesis(
        resource=ref,
        category=Category.CONFIGMAP_CHANGED if ref.kind == "ConfigMap" else Category.SECRET_CHANGED,
        summary=f"{what} was changed at {restart.write.at:%Y-%m-%d %H:%M:%S} UTC{by_whom(restart.write)} and"
        f" {server.ref} {did} at {restart.at:%H:%M:%S}; since then {subject.ref} complains of it:"
        f" “{last_words.telling(said)}”{says}",
        support=support(subject, direct, precedes=True, steps=1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={
            ref.kind.lower(): ref.name,
            "changed_at": restart.write.at.isoformat(),
            "changed_by": restart.write.manager,
            **({"key": restart.key} if restart.key else {}),
        },
    )
