"""NetworkPolicies on the target's pods, and on those that it complains it cannot reach."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import template_labels
from cortexops.domain.kubernetes import complaints, meta, network
from cortexops.domain.kubernetes.values import mapping
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.topology import Relation

_NAMESPACES = 3


@collector("network_policies", wave=4)
async def collect(gathering: Gathering) -> None:
    roots = [root for root in gathering.roots if root.namespace]
    suspects = dict.fromkeys(roots)
    callers = list(roots)
    for caller in callers:
        own = {ref for ref, _ in gathering.pods_of(caller)}
        if not any(
            complaints.slow(log.lines) or complaints.resolving(log.lines) or complaints.of_a_peer(log.lines)
            for log in gathering.logs
            if log.pod in own
        ):
            continue  # what it hands on may have begun as a time-out further on
        for service in gathering.connected(caller, Relation.CALLS):
            for behind in gathering.connected(service, Relation.SELECTS):
                if behind.kind != "Pod" and behind not in suspects:
                    suspects.setdefault(behind)
                    callers.append(behind)
    namespaces = list(dict.fromkeys(ref.namespace for ref in suspects))[:_NAMESPACES]
    lists = await asyncio.gather(*(gathering.listing("NetworkPolicy", namespace) for namespace in namespaces))
    kept = [
        policy
        for policies in lists
        for policy in policies
        if _keep_if_restricting(gathering, policy, list(suspects))
    ]
    if any(_needs_labels(policy) for policy in kept):
        await asyncio.gather(*(gathering.get("Namespace", "", name) for name in namespaces))


def _keep_if_restricting(gathering: Gathering, policy: JSON, suspects: list[ResourceRef]) -> bool:
    ref = meta.ref_of(gathering.target.cluster, "NetworkPolicy", policy)
    found = False
    for suspect in suspects:
        labels = template_labels(suspect, gathering.find(suspect) or {})
        directions = [way for way in ("Ingress", "Egress") if network.restricts(policy, labels, way)]
        if suspect.namespace == ref.namespace and labels and directions:
            gathering.keep("NetworkPolicy", policy)
            gathering.connect(ref, Relation.RESTRICTS, suspect)
            found = True
    return found


def _needs_labels(policy: JSON) -> bool:
    """Whether it tells namespaces apart by labels that not every namespace has."""
    return "namespaceSelector" in str(mapping(policy, "spec"))
