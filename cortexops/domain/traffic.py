"""Traffic: how many requests a second reach what an action touches, asked of Prometheus.

The counters are those that verification compares. The same request is counted at several places (an ingress,
a mesh, the program itself), so of several counters the greatest number counts and nothing is added up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cortexops.domain.errors import InvalidInput
from cortexops.domain.metric_checks import fill, is_name, milliseconds, pod_names
from cortexops.domain.metric_defaults import REQUESTS, rates
from cortexops.domain.resource import Frozen, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation
from cortexops.domain.workload import WORKLOADS

SPAN = 300.0
"""Seconds that the mean covers: more than four scrapes at every usual scrape interval."""
_MOST = 100  # names in one query


class Touched(Frozen):
    """What an action touches in one namespace. `pods` are regular expressions for names."""

    namespace: str
    pods: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


def touched(scene: Scene, target: ResourceRef) -> list[Touched]:
    """One for each namespace; empty where nothing is known that requests could reach."""
    if target.kind == "Node":
        return _parts([], [], [ref for ref, _ in scene.pods_on(target)])
    if target.kind == "Pod":
        return _parts([], [], [target])
    if target.kind == "Service":
        return _parts([], [target], scene.topology.out(target, Relation.SELECTS))
    workloads = [target] if target.kind in WORKLOADS else _users(scene, target)
    services = [
        ref for each in workloads for ref in scene.topology.dependents(each) if _in_front(scene, each, ref)
    ]
    return _parts(workloads, services, [])


def _users(scene: Scene, target: ResourceRef) -> list[ResourceRef]:
    """The workloads that work with an object such as a ConfigMap, a volume or an autoscaler."""
    around = scene.topology.into(
        target, Relation.USES_CONFIG, Relation.USES_SECRET, Relation.MOUNTS
    ) + scene.topology.out(target, Relation.SCALES)
    return list(dict.fromkeys(ref for ref in around if ref.kind in WORKLOADS))


def _in_front(scene: Scene, workload: ResourceRef, ref: ResourceRef) -> bool:
    """Whether it is a Service that sends requests to the workload's pods."""
    own = {workload, *scene.topology.descendants(workload)}
    return ref.kind == "Service" and any(pod in own for pod in scene.topology.out(ref, Relation.SELECTS))


def _parts(
    workloads: Sequence[ResourceRef], services: Sequence[ResourceRef], pods: Sequence[ResourceRef]
) -> list[Touched]:
    spaces = dict.fromkeys(ref.namespace for ref in (*workloads, *services, *pods))
    return [
        Touched(
            namespace=space,
            pods=tuple(
                [pod_names(ref) for ref in workloads if ref.namespace == space]
                + [re.escape(name) for name in _names(pods, space)]
            ),
            workloads=_names(workloads, space),
            services=_names(services, space),
        )
        for space in spaces
    ]


def _names(refs: Iterable[ResourceRef], namespace: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ref.name for ref in refs if ref.namespace == namespace))


def traffic_query(part: Touched, *, seconds: float = SPAN) -> str:
    """Its requests a second, the greatest of what the counters say; empty where none of them exists.

    Raises `InvalidInput` for names that Kubernetes would not have taken, and for too many of them.
    """
    named = (part.namespace, *part.workloads, *part.services)
    if not all(map(is_name, named)):
        raise InvalidInput("name", "is not one of Kubernetes; traffic is not asked for it")
    if not part.pods or len(part.pods) + len(named) > _MOST:
        raise InvalidInput("pods", f"must be between 1 and {_MOST}")
    sums = []
    for metric, selectors in REQUESTS.items():
        found = dict.fromkeys(
            fill(selector, values) for selector in selectors for values in _values(part, selector)
        )
        if found:
            text = fill(rates(metric, *found), {"range": milliseconds(seconds)})
            sums.append(f'label_replace(sum({text}), "of", "{metric}", "", "")')
    return f"max({' or '.join(sums)})"


def _values(part: Touched, selector: str) -> list[dict[str, str]]:
    """What is put into the labels: all pods at once, workloads and Services one by one."""
    given = {"namespace": part.namespace, "pods": "|".join(part.pods)}
    if "{{service}}" in selector:
        return [{**given, "service": name} for name in part.services]
    if "{{workload}}" in selector:
        return [{**given, "workload": name} for name in part.workloads]
    return [given]
