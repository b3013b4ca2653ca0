"""Somebody whom a workload calls and complains about ended shortly before the trouble began, and serves again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_end, cite_log, how_it_ended, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import (
    Subject,
    Trouble,
    complaints_about,
    is_troubled,
    log_lines,
    serves_badly,
    subjects,
)
from cortexops.domain.kubernetes import last_words, pods
from cortexops.domain.releases import release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import backing
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of

_BEFORE = timedelta(minutes=20)
_AFTER = timedelta(minutes=5)
_ENDED, _ONE_OF_SEVERAL = 0.7, 0.55


@analyzer("interrupted_callee")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if not serves_badly(scene) or scene.clocks_apart:
        return []
    found: dict[ResourceRef, Hypothesis] = {}
    for subject in subjects(scene):
        own = release_of(scene, subject)
        if is_troubled(scene, subject) or (own is not None and own.precedes(scene.onset)):
            continue
        for hypothesis in _of(scene, book, subject):
            found.setdefault(hypothesis.resource, hypothesis)
    return list(found.values()) if len(found) == 1 else []


def _of(scene: Scene, book: EvidenceBook, subject: Subject) -> Iterator[Hypothesis]:
    for service in scene.topology.out(subject.ref, Relation.CALLS):
        for pod, container, previous, lines in log_lines(scene, subject):
            said = complaints_about(scene, subject, service, lines)
            for ref in backing(scene, service) if said else ():
                callee = subject_of(scene, ref, subject.distance + 2, subject.weight)
                case = None if ref == subject.ref or is_troubled(scene, callee) else _ended(scene, callee)
                if case is None or case.state.last is None:
                    continue
                end = case.state.last
                at = f"{end.at:%Y-%m-%d %H:%M:%S} UTC" if end.at is not None else "then"
                yield Hypothesis(
                    resource=ref,
                    category=Category.DEPENDENCY_DOWN,
                    summary=f"container {case.state.name} of {ref}, which {subject.ref} calls as {service.name}, ended"
                    f" at {at} with {how_it_ended(end)}, right before the trouble began, and runs again:"
                    f" what it held in memory and its connections are gone; {subject.ref} says"
                    f" “{last_words.telling(said)}”",
                    support=support(subject, _ENDED if len(callee.pods) == 1 else _ONE_OF_SEVERAL, steps=2),
                    evidence=(
                        cite_end(book, case, end),
                        cite_log(book, pod, container, previous, said, f"complains about {service.name}"),
                    ),
                    explains=(Category.CRASH,),
                    facts={"service": service.name, "host": service.name},
                )
            if said:
                break


def _ended(scene: Scene, callee: Subject) -> Trouble | None:
    """The container of it that failed around the time when the trouble began, and has been running since."""
    for ref, pod in callee.pods:
        for state in pods.container_states(pod):
            end = state.last
            if end is None or end.at is None or state.init or state.running_since is None or end.code == 0:
                continue
            if scene.onset - _BEFORE <= end.at <= scene.onset + _AFTER:
                return Trouble(callee, ref, pod, state)
    return None
