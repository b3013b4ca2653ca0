"""The workloads that an examined object stands for or calls, and where they live: what add-ons may act on."""

from __future__ import annotations

from activities.gathering import Gathering
from activities.workload_reading import template_labels
from cortexops.domain.resource import ResourceRef
from cortexops.domain.topology import Relation

_NAMESPACES = 3


def own_workloads(gathering: Gathering) -> list[ResourceRef]:
    """The target's workloads; no nodes, and nothing that has no pods."""
    return [root for root in gathering.roots if root.namespace and root.kind not in ("Namespace", "Node")]


def workloads(gathering: Gathering) -> dict[ResourceRef, dict[str, str]]:
    """The target's workloads and those behind the Services that they call, at any depth that was followed, with
    the labels of their pods."""
    found = dict.fromkeys(own_workloads(gathering))
    queue = list(found)
    while queue:
        for service in gathering.connected(queue.pop(0), Relation.CALLS, Relation.MAY_CALL):
            for behind in gathering.connected(service, Relation.SELECTS):
                if behind.kind != "Pod" and behind not in found:
                    found[behind] = None
                    queue.append(behind)
    return {ref: template_labels(ref, gathering.find(ref) or {}) for ref in found}


def namespaces(gathering: Gathering) -> list[str]:
    """Where those live, the target's own first; only a few, as each costs a list."""
    return list(dict.fromkeys(ref.namespace for ref in workloads(gathering)))[:_NAMESPACES]
