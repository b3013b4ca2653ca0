"""Services that select the target's pods, or seem meant to, and the Ingresses that route to them."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from activities.resolve import backends
from activities.workload_reading import template_labels
from cortexops.domain.kubernetes import meta, selectors
from cortexops.domain.kubernetes.values import texts
from cortexops.domain.resource import ResourceRef
from cortexops.domain.topology import Relation


@collector("services", wave=2)
async def collect(gathering: Gathering) -> None:
    await asyncio.gather(*(_of(gathering, root) for root in gathering.roots if root.kind != "Node"))


async def _of(gathering: Gathering, root: ResourceRef) -> None:
    obj = gathering.find(root)
    if obj is None:
        return
    labels = template_labels(root, obj)
    services, ingresses = await asyncio.gather(
        gathering.listing("Service", root.namespace), gathering.listing("Ingress", root.namespace)
    )
    near: set[str] = set()
    for service in services:
        selector = texts(service, "spec", "selector")
        ref = meta.ref_of(root.cluster, "Service", service)
        if selectors.picks_template(selector, labels):
            gathering.keep("Service", service)
            gathering.connect(ref, Relation.SELECTS, root)
            for pod, live in gathering.pods_of(root):
                if selectors.equals(selector, meta.labels(live)):
                    gathering.connect(ref, Relation.SELECTS, pod)
            near.add(ref.name)
        elif selector and (ref.name == root.name or selector.items() & labels.items()):
            gathering.keep("Service", service)  # perhaps it was meant to select it
            near.add(ref.name)
    if gathering.target.kind == "Service":
        near.add(gathering.target.name)
    for ingress in ingresses:
        named = backends(ingress)
        if near.intersection(named) or root.name in named:
            gathering.keep("Ingress", ingress)
            for name in named:
                if gathering.unread("Service", root.namespace, name):
                    continue
                gathering.connect(
                    meta.ref_of(root.cluster, "Ingress", ingress),
                    Relation.ROUTES_TO,
                    gathering.ref("Service", root.namespace, name),
                )
