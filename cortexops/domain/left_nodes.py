"""Nodes that were taken away on purpose, nodes that come and go, and what of a node no status shows."""

from __future__ import annotations

import re
from datetime import timedelta

from cortexops.domain.evidence import GapReason
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import EventFact, Scene
from cortexops.domain.seen import seen_until
from cortexops.domain.topology import Relation

_ON_PURPOSE = {
    "ScaleDown": "the cluster autoscaler",
    "ScaleDownEmpty": "the cluster autoscaler",
    "DisruptionTerminating": "Karpenter",
}
"""Reasons of events with which an autoscaler tells that it takes a node away, and whose they are."""
_SHOWN = re.compile(
    r"(?i)ready|unreachable|schedul|cordon|drain|pressure|evict|kubelet|\bdown\b|lost|taint|flap|maintenance|reboot"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LATELY = timedelta(hours=2)


def shows_in_status(scene: Scene) -> bool:
    """Whether some alert about a node speaks of what its status tells: of a disk's fill, a clock, errors of its
    network or its load, the exporter that measured them knows alone."""
    return not scene.signals or any(
        _SHOWN.search(f"{_CAMEL.sub(' ', signal.name)} {signal.summary}") for signal in scene.signals
    )


def lately(scene: Scene, node: ResourceRef, reason: str) -> tuple[int, list[EventFact]]:
    """How often events of that reason tell of the node in the two hours before it was seen last."""
    since = seen_until(scene) - _LATELY
    found = [e for e in scene.events_about(node, reason) if e.last is not None and e.last >= since]
    return sum(event.count for event in found), found


def taken_away(scene: Scene, node: ResourceRef) -> str:
    """A sentence on who removed the node; empty where it is still there, or nobody tells that they wanted it gone.

    A machine that was lost, or reclaimed by its cloud, is another matter: that only its Node object goes.
    """
    unread = any(gap.reason is not GapReason.NO_DATA and "nodes" in gap.what for gap in scene.gaps)
    if unread or scene.get(node) is not None or not scene.of_kind("Node"):
        return ""
    if any(scene.get(pod) is not None for pod in scene.topology.into(node, Relation.RUNS_ON)):
        return ""
    for event in scene.events_about(node, *_ON_PURPOSE):
        if event.type != "Warning":
            return f"{node} is not there any more, {_ON_PURPOSE[event.reason]} removed it"
    return ""
