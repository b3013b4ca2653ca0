"""Who took the place of pods that the scheduler preempted, by its events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cortexops.domain.kubernetes.values import number, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import EventFact, Scene
from cortexops.domain.seen import top_owner

_PREEMPTED = re.compile(r"(?i)^Preempted by (?:a )?(?:pod )?(?:([\w.-]+)/)?([\w.-]*?) ?on node ([\w.-]+)")
_WORD = ("a", "pod")


class Preemptor(NamedTuple):
    """What an event says of who preempted: `who` is a uid or a name, `namespace` only beside a name, `node` where
    it was. Empty where it does not say."""

    who: str
    namespace: str
    node: str


def preemptor_of(message: str) -> Preemptor | None:
    """Read from the message of an event of reason `Preempted`, in the words of any version of the scheduler."""
    match = _PREEMPTED.match(message)
    if match is None:
        return None
    namespace, who, node = match.groups()
    return Preemptor("" if who.lower() in _WORD else who, namespace or "", node)


def is_it(pod: JSON, preemptor: Preemptor) -> bool:
    """Whether this pod is the one that preempted."""
    if not preemptor.who:
        return False
    if preemptor.namespace:
        where = (text(pod, "metadata", "namespace"), text(pod, "metadata", "name"))
        return where == (preemptor.namespace, preemptor.who)
    return preemptor.who in (text(pod, "metadata", "uid"), text(pod, "metadata", "name"))


class Taken(NamedTuple):
    """A preemption that has been traced: the workload whose pods took the room, and their priority class."""

    event: EventFact
    workload: ResourceRef | None
    pod: ResourceRef | None
    priority_class: str
    priority: int


def taken(scene: Scene, events: Sequence[EventFact]) -> Taken | None:
    """The newest preemption whose preemptor is known, else the newest at all; None where there was none."""
    found = [(event, by) for event in events if (by := preemptor_of(event.message)) is not None]
    for event, by in found:
        for ref, pod in scene.of_kind("Pod"):
            if is_it(pod, by):
                priority = number(pod, "spec", "priority")
                name = text(pod, "spec", "priorityClassName")
                return Taken(event, top_owner(scene, ref), ref, name, priority)
    return Taken(found[0][0], None, None, "", 0) if found else None


def nodes_of(events: Iterable[EventFact]) -> list[tuple[str, Preemptor]]:
    """(node, preemptor) for each preemption that names somebody, each node once."""
    found: dict[str, Preemptor] = {}
    for event in events:
        by = preemptor_of(event.message) if event.reason == "Preempted" else None
        if by is not None and by.who and by.node:
            found.setdefault(by.node, by)
    return list(found.items())
