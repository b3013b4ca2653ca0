"""What a pod asks of a node, against what the largest node can give."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from cortexops.domain.evidence import GapReason
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.placement import unselected
from cortexops.domain.kubernetes.values import amount, mapping, objects, text, texts
from cortexops.domain.quantity import format_bytes, format_cores
from cortexops.domain.releases import Release
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_SHORT = re.compile(r"Insufficient ([A-Za-z0-9./-]*[A-Za-z0-9])")


class TooLarge(NamedTuple):
    """A pod asks for more of `resource` than any node can give. Amounts as people write them."""

    resource: str
    asked: str
    largest: str
    node: ResourceRef | None
    selected: bool = False
    """Whether only the nodes that the pod's selector allows were looked at."""

    @property
    def words(self) -> str:
        nodes = "node that its selector allows" if self.selected else "node"
        if self.node is None:
            return f"the pod asks for {self.asked} of {self.resource}, which no {nodes} has"
        return (
            f"the pod asks for {self.asked} of {self.resource}, more than any {nodes} has (largest allocatable:"
            f" {self.largest}, {self.node.name})"
        )


def too_large(scene: Scene, pod: JSON, message: str) -> TooLarge | None:
    """The first resource that the scheduler finds short and that not even an empty node would have enough of, among
    the nodes that the pod's selector allows. Nothing is said where not all nodes were read.
    """
    spec = mapping(pod, "spec")
    nodes = [(ref, node) for ref, node in scene.of_kind("Node") if not unselected(node, spec)]
    cut = any(gap.reason is not GapReason.NO_DATA and "list nodes" in gap.what for gap in scene.gaps)
    if not nodes or cut:
        return None
    selected = bool(texts(spec, "nodeSelector"))
    for resource in dict.fromkeys(_SHORT.findall(message)):
        asked = requested(spec, resource)
        known = [
            (found, ref)
            for ref, node in nodes
            if (found := amount(node, "status", "allocatable", resource)) is not None and found > 0
        ]
        basic = resource in ("cpu", "memory")
        if not asked or (basic and len(known) < len(nodes)):
            continue
        most, where = max(known, key=lambda item: (item[0], item[1].name), default=(Decimal(0), None))
        if asked > most:
            return TooLarge(resource, spoken(asked, resource), spoken(most, resource), where, selected)
    return None


def requested(spec: JSON, resource: str) -> Decimal:
    """What a pod of this spec asks of its node: its containers together, or its largest init container if that
    asks for more, and the overhead of its runtime class."""
    own = amount(spec, "resources", "requests", resource)
    mains = [_of(container, resource) for container in objects(spec, "containers")]
    inits = objects(spec, "initContainers")
    beside = sum((_of(c, resource) for c in inits if _stays(c)), Decimal(0))
    first = max((_of(c, resource) for c in inits if not _stays(c)), default=Decimal(0))
    each = max(sum(mains, Decimal(0)) + beside, first)
    return (own if own is not None else each) + (amount(spec, "overhead", resource) or Decimal(0))


def _stays(init: JSON) -> bool:
    """Whether it is a sidecar, which runs beside the containers."""
    return text(init, "restartPolicy") == "Always"


def _of(container: JSON, resource: str) -> Decimal:
    return (
        amount(container, "resources", "requests", resource)
        or amount(container, "resources", "limits", resource)
        or Decimal(0)
    )


def raised_by(release: Release, resource: str) -> str:
    """` of container relay from 100m to 100`: the request that the release raised most, empty when none."""
    found: list[tuple[Decimal, str]] = []
    for container in objects(release.after, "spec", "containers") + objects(
        release.after, "spec", "initContainers"
    ):
        name = meta.name({"metadata": container})
        before = release.container_before(name)
        more = _of(container, resource) - _of(before, resource)
        if more > 0:
            was, now = _written(before, resource), _written(container, resource)
            found.append((more, f" of container {name} from {was or 'nothing'} to {now}"))
    return max(found)[1] if found else ""


def _written(container: JSON, resource: str) -> str:
    return text(container, "resources", "requests", resource) or text(
        container, "resources", "limits", resource
    )


def spoken(value: Decimal, resource: str) -> str:
    """`100 cores`, `64Gi`, `2`."""
    if resource == "cpu":
        cores = format_cores(value)
        return cores if cores.endswith("m") else f"{cores} core{'' if cores == '1' else 's'}"
    if resource in ("memory", "ephemeral-storage"):
        return format_bytes(value, at_most=value >= 2**20)
    return f"{value.normalize():f}"
