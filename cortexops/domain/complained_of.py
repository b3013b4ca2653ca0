"""Whom the workloads of a scene complain of by name, whether those look well or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cortexops.domain.findings import (
    DNS,
    Subject,
    backing,
    complaints_about,
    log_lines,
    subjects,
)
from cortexops.domain.kubernetes import complaints
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import line_names
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of

_DEEPEST = 3  # calls beyond the subjects
_EACH = 0.95  # how much of the blame goes on with a call


class Heard(NamedTuple):
    """`lines` of the caller's log, all of one run of one container, complain of the callee's Service."""

    caller: Subject
    service: ResourceRef
    callee: Subject
    pod: ResourceRef
    container: str
    previous: bool
    lines: tuple[str, ...]


def complained_of(scene: Scene) -> list[Heard]:
    """The callees that subjects complain of, then those whom these complain of in turn, nearest first.

    That somebody complains shows nothing against the callee yet: an analyzer has to know more of it.
    """
    frontier = subjects(scene)
    weights = {subject.ref: subject for subject in frontier}
    found: list[Heard] = []
    for _ in range(_DEEPEST + 1):
        further: list[Subject] = []
        for caller in frontier:
            for heard in _of(scene, caller, weights):
                found.append(heard)
                if heard.callee.ref not in weights:
                    weights[heard.callee.ref] = heard.callee
                    further.append(heard.callee)
        frontier = further
    return found


def _of(scene: Scene, caller: Subject, known: dict[ResourceRef, Subject]) -> Iterator[Heard]:
    logs = log_lines(scene, caller)
    for service in scene.topology.out(caller.ref, Relation.CALLS, Relation.MAY_CALL) if logs else ():
        if (service.namespace, service.name) == DNS:
            continue
        for pod, container, previous, told in logs:
            lines = _naming(scene, caller, service, told)
            for ref in backing(scene, service) if lines else ():
                if ref != caller.ref:
                    callee = known.get(ref) or subject_of(
                        scene, ref, caller.distance + 2, round(caller.weight * _EACH, 3)
                    )
                    yield Heard(caller, service, callee, pod, container, previous, tuple(lines))
            if lines:
                break


def _naming(scene: Scene, caller: Subject, service: ResourceRef, told: Sequence[str]) -> list[str]:
    about = set(complaints_about(scene, caller, service, told))
    return [
        line
        for line in complaints.complaining(told)
        if line in about or line_names(scene, line, service, caller.ref.namespace)
    ]
