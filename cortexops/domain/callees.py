"""Callees that look well and that somebody complains about all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cortexops.domain.findings import Subject, complaints_about, log_lines, subjects
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import backing
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of


class Called(NamedTuple):
    """A workload, who complains about it, in which log and which lines. The target's own have no complainer."""

    subject: Subject
    by: Subject | None = None
    said: tuple[ResourceRef, str, bool, tuple[str, ...]] | None = None


def with_callees(scene: Scene, wanted: Callable[[Subject], bool]) -> list[Called]:
    """The scene's subjects, and whom they call, complain about by name or address, and is `wanted`."""
    callers = subjects(scene)
    found = [Called(subject) for subject in callers]
    known = {each.subject.ref: place for place, each in enumerate(found)}
    for caller in callers:
        for service in scene.topology.out(caller.ref, Relation.CALLS):
            said = _about(scene, caller, service)
            for ref in backing(scene, service) if said is not None else ():
                callee = subject_of(scene, ref, caller.distance + 2, caller.weight)
                if ref in known and found[known[ref]].said is None and ref != caller.ref:
                    found[known[ref]] = Called(found[known[ref]].subject, caller, said)
                elif ref not in known and wanted(callee):
                    known[ref] = len(found)
                    found.append(Called(callee, caller, said))
    return found


def _about(
    scene: Scene, caller: Subject, service: ResourceRef
) -> tuple[ResourceRef, str, bool, tuple[str, ...]] | None:
    for pod, container, previous, lines in log_lines(scene, caller):
        if told := complaints_about(scene, caller, service, lines):
            return pod, container, previous, tuple(told)
    return None
