"""Room: what quotas, limit ranges and nodes leave for more pods or larger ones, and which of them says so.

Neither LimitRange nor quota is checked by the dry run of a workload: they bite when its pods are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple, Protocol

from cortexops.domain.blast import replica_count
from cortexops.domain.kubernetes.values import amount, dig, objects, text
from cortexops.domain.resource import JSON, ResourceRef


class Known(Protocol):
    """Objects by kind: a scene, or what was read just before a change."""

    def of_kind(self, kind: str) -> Iterable[tuple[ResourceRef, JSON]]: ...


class Reads:
    """What `prepare` was given, by kind."""

    def __init__(self, reads: Mapping[str, JSON]) -> None:
        self._reads = reads

    def of_kind(self, kind: str) -> Iterator[tuple[ResourceRef, JSON]]:
        for key in sorted(self._reads):
            cluster, namespace, its, name = key.split(":", 3)
            if its == kind:
                yield (
                    ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name),
                    self._reads[key],
                )


class Bound(NamedTuple):
    """The most there may be, and what says so."""

    most: Decimal
    says: str


def ceiling(
    known: Known, target: ResourceRef, live: JSON, container: str, resource: str = "memory"
) -> Bound | None:
    """The largest limit (bytes or cores) that this container may have here; None: nothing bounds it."""
    present = held(live, "limits", resource)
    others = sum(present.values()) - present.get(container, Decimal(0))
    bounds: list[Bound] = []
    for ref, limit_range in known.of_kind("LimitRange"):
        for item in objects(limit_range, "spec", "limits"):
            most = amount(item, "max", resource)
            if most is None or ref.namespace != target.namespace:
                continue
            says = f"LimitRange {ref.name} allows {text(item, 'max', resource)} for a {item.get('type')}"
            if item.get("type") == "Container":
                bounds.append(Bound(most, says))
            elif item.get("type") == "Pod":
                bounds.append(Bound(most - others, says))
    nodes = [
        (size, ref.name)
        for ref, node in known.of_kind("Node")
        if (size := amount(node, "status", "allocatable", resource)) is not None
    ]
    if nodes:
        largest, name = max(nodes)
        bounds.append(Bound(largest / 2, f"half of the largest node ({name})"))
    left = room(known, target, live, (f"limits.{resource}",), "limits", resource)
    if left is not None:
        bounds.append(Bound(present.get(container, Decimal(0)) + left.most, left.says))
    return min(bounds) if bounds else None


def room(
    known: Known,
    target: ResourceRef,
    live: JSON,
    names: tuple[str, ...],
    part: str,
    resource: str = "memory",
) -> Bound | None:
    """How much more of the quota each pod may take so that the rollout gets through, and which quota.

    A rolling Deployment makes a pod more before it removes one: that pod has to fit in as well.
    """
    pods = max(1, replica_count(live))
    surge = _surge(live, pods)
    pod = sum(held(live, part, resource).values())
    unit = " bytes" if resource == "memory" else " cores" if resource == "cpu" else ""
    rooms: list[Bound] = []
    for ref, quota in known.of_kind("ResourceQuota"):
        for name in names:
            hard = amount(quota, "status", "hard", name)
            if hard is None or ref.namespace != target.namespace:
                continue
            used = amount(quota, "status", "used", name) or Decimal(0)
            says = f"ResourceQuota {ref.name} has {hard:f}{unit} for {name}, {used:f} used"
            rooms.append(Bound((hard - used - surge * pod) / (pods + surge), says))
    return min(rooms) if rooms else None


def held(live: JSON | None, part: str, resource: str = "memory") -> dict[str, Decimal]:
    """Limits (or requests) of the containers; a request that is not set is the limit."""
    found: dict[str, Decimal] = {}
    for item in objects(live, "spec", "template", "spec", "containers"):
        has = amount(item, "resources", part, resource) or amount(item, "resources", "limits", resource)
        found[text(item, "name")] = has or Decimal(0)
    return found


def pods_at_most(known: Known, namespace: str, live: JSON) -> Bound | None:
    """How many pods of this workload there may be: by the quotas' remainder, and by what all nodes that take
    pods hold together. None: nothing bounds it."""
    needs = {
        "requests.memory": sum(held(live, "requests").values(), Decimal(0)),
        "limits.memory": sum(held(live, "limits").values(), Decimal(0)),
        "requests.cpu": sum(held(live, "requests", "cpu").values(), Decimal(0)),
        "limits.cpu": sum(held(live, "limits", "cpu").values(), Decimal(0)),
        "pods": Decimal(1),
    }
    needs |= {"memory": needs["requests.memory"], "cpu": needs["requests.cpu"], "count/pods": Decimal(1)}
    present = Decimal(replica_count(live))
    bounds: list[Bound] = []
    for ref, quota in known.of_kind("ResourceQuota"):
        for name, each in needs.items():
            hard = amount(quota, "status", "hard", name)
            if hard is None or not each or ref.namespace != namespace:
                continue
            left = hard - (amount(quota, "status", "used", name) or Decimal(0))
            says = f"ResourceQuota {ref.name} has {left:f} left of {name}, a pod takes {each:f}"
            bounds.append(Bound(present + max(Decimal(0), left) // each, says))
    nodes = [node for _, node in known.of_kind("Node") if not dig(node, "spec", "unschedulable")]
    for resource in ("memory", "cpu"):
        each = needs[resource]
        sizes = [amount(node, "status", "allocatable", resource) for node in nodes]
        if each and sizes and all(size is not None for size in sizes):
            fits = sum((size // each for size in sizes if size is not None), Decimal(0))
            bounds.append(Bound(fits, f"the nodes' {resource} holds {fits:f} such pods in all"))
    return min(bounds) if bounds else None


def _surge(live: JSON, replicas: int) -> int:
    """How many pods more a rollout makes; the API server's default is a quarter, rounded up."""
    if live.get("kind") != "Deployment" or text(live, "spec", "strategy", "type") == "Recreate":
        return 0
    said = text(live, "spec", "strategy", "rollingUpdate", "maxSurge") or "25%"
    if said.endswith("%") and said[:-1].isdecimal():
        return -(-replicas * int(said[:-1]) // 100)
    return int(said) if said.isdecimal() else 1
