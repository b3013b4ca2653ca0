"""Topology: objects around the one that alerts, and how they hang together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property

from cortexops.domain.resource import Frozen, ResourceRef


class Relation(StrEnum):
    """What an edge says about its two ends, read from left to right."""

    OWNS = "owns"  # Deployment → ReplicaSet → Pod
    SELECTS = "selects"  # Service → Pod
    USES_CONFIG = "uses_config"  # workload → ConfigMap
    USES_SECRET = "uses_secret"  # workload → Secret
    RUNS_ON = "runs_on"  # Pod → Node
    ROUTES_TO = "routes_to"  # Ingress → Service
    CALLS = "calls"  # workload → Service it names in its configuration
    MAY_CALL = "may_call"  # workload → Service beside it that is down, where its complaints name nobody
    SCALES = "scales"  # HorizontalPodAutoscaler → workload
    GUARDS = "guards"  # PodDisruptionBudget → workload
    MEANT_FOR = "meant_for"  # Service → workload that it seems to be for and does not select
    MOUNTS = "mounts"  # workload → PersistentVolumeClaim
    RESTRICTS = "restricts"  # NetworkPolicy → workload
    ACTS_AS = "acts_as"  # workload → ServiceAccount
    PULLS_WITH = "pulls_with"  # workload → Secret
    SERVES_WITH = "serves_with"  # Ingress → Secret of its certificate
    ACTS_ON = "acts_on"  # chaos experiment, object of a mesh or of an operator → what it changes
    OTHER_END = "other_end"  # NetworkChaos → workload, if it acts only on what passes between two


class Edge(Frozen):
    source: ResourceRef
    relation: Relation
    target: ResourceRef


class Topology(Frozen):
    """A directed graph; edges are unique and may form cycles, which no walk here follows twice."""

    edges: tuple[Edge, ...] = ()

    @cached_property
    def outgoing(self) -> dict[ResourceRef, list[Edge]]:
        """Edges by their source: an investigation asks thousands of times."""
        found: dict[ResourceRef, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.source, []).append(edge)
        return found

    @cached_property
    def incoming(self) -> dict[ResourceRef, list[Edge]]:
        """Edges by their target."""
        found: dict[ResourceRef, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.target, []).append(edge)
        return found

    def out(self, ref: ResourceRef, *relations: Relation) -> list[ResourceRef]:
        """What `ref` points at, by these relations (all when none is named)."""
        edges = self.outgoing.get(ref, ())
        return [e.target for e in edges if not relations or e.relation in relations]

    def into(self, ref: ResourceRef, *relations: Relation) -> list[ResourceRef]:
        """What points at `ref`."""
        edges = self.incoming.get(ref, ())
        return [e.source for e in edges if not relations or e.relation in relations]

    def distances(self, start: ResourceRef) -> dict[ResourceRef, int]:
        """Steps from `start` to everything reachable, edges taken in both directions."""
        seen = {start: 0}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            for there in [*self.out(here), *self.into(here)]:
                if there not in seen:
                    seen[there] = seen[here] + 1
                    queue.append(there)
        return seen

    def dependents(self, ref: ResourceRef) -> list[ResourceRef]:
        """Who would notice if `ref`, a workload, went away: Services on it, Ingresses on those, callers."""
        services = {s for pod in [ref, *self.descendants(ref)] for s in self.into(pod, Relation.SELECTS)}
        routes = {r for s in services for r in self.into(s, Relation.ROUTES_TO)}
        callers = {c for s in services for c in self.into(s, Relation.CALLS)} - {ref}
        return sorted(services | routes | callers, key=str)

    def descendants(self, ref: ResourceRef) -> list[ResourceRef]:
        """Everything that `ref` owns, at any depth."""
        found: dict[ResourceRef, None] = {}
        queue = deque([ref])
        while queue:
            for child in self.out(queue.popleft(), Relation.OWNS):
                if child not in found:
                    found[child] = None
                    queue.append(child)
        return list(found)


def topology(edges: Iterable[Edge]) -> Topology:
    """A topology without repeated edges, in the order they were found."""
    return Topology(edges=tuple(dict.fromkeys(edges)))
