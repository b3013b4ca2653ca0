"""The further reading that a model may ask for: a fixed list, about objects that were shown, in fixed bounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from cortexops.domain.reasoning_answers import EvidenceRequest
from cortexops.domain.resource import ResourceRef

MOST_LINES = 200
MOST_OBJECTS = 40
_CONTAINER = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ROLLED = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_NOT_READ = frozenset({"Secret"})


class Reading(NamedTuple):
    """One sort of further reading: what it shows, and about which kinds (all when empty)."""

    shows: str
    kinds: frozenset[str] = frozenset()


READINGS: dict[str, Reading] = {
    "logs": Reading("the last lines of a container of a Pod", frozenset({"Pod"})),
    "events": Reading("the events about an object"),
    "status": Reading("phase, conditions and container states of an object"),
    "revisions": Reading("the revisions of a workload with their images", _ROLLED),
    "quota": Reading("how much of its quotas the object's namespace uses"),
}
"""By the name under which a model may ask. All of them read; none changes anything."""


class Wanted(NamedTuple):
    """A request that was found good: the object by its reference, never by a name that the model wrote."""

    collector: str
    object: ResourceRef
    container: str = ""
    previous: bool = False
    lines: int = MOST_LINES


def wanted(request: EvidenceRequest, objects: Sequence[ResourceRef]) -> Wanted | None:
    """The request with its object, or None: no such reading, no such object, not for its kind, out of bounds."""
    reading = READINGS.get(request.collector)
    number = re.fullmatch(r"o([1-9][0-9]{0,3})", request.object)
    if reading is None or number is None or int(number[1]) > len(objects):
        return None
    target = objects[int(number[1]) - 1]
    if target.kind in _NOT_READ or (reading.kinds and target.kind not in reading.kinds):
        return None
    if request.collector == "quota" and not target.namespace:
        return None
    if request.collector != "logs":
        return Wanted(request.collector, target)
    if not 1 <= request.lines <= MOST_LINES:
        return None
    if request.container and not _CONTAINER.fullmatch(request.container):
        return None
    return Wanted("logs", target, request.container, request.previous, request.lines)
