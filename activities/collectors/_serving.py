"""The workloads behind a Service, of whatever kind they are."""

from __future__ import annotations

import asyncio

from activities.gathering import Gathering
from activities.resolve import meant_for
from activities.workload_reading import template_labels
from cortexops.domain.kubernetes import meta, pods, selectors
from cortexops.domain.kubernetes.values import mapping, text, texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.topology import Relation

COMMON = ("Deployment", "StatefulSet")
_RARER = ("Rollout", "DaemonSet", "ReplicaSet")

Found = list[tuple[str, JSON]]
"""Kind and object of workloads."""


async def behind(gathering: Gathering, service: ResourceRef, *, rarer: bool) -> list[ResourceRef]:
    """The workloads whose template a Service selects, kept and connected with it.

    Of `rarer` kinds, too, where it selects none of the common ones, or only such as want no pods: a Rollout may
    refer to a Deployment that it has scaled down. Each of these costs a list, so ask only where it matters.
    """
    selector = texts(gathering.find(service) or {}, "spec", "selector")
    if not selector:
        return []
    lists = await asyncio.gather(*(gathering.listing(kind, service.namespace) for kind in COMMON))
    common = [(kind, item) for kind, items in zip(COMMON, lists, strict=True) for item in items]
    selected = _selected(service, selector, common)
    if rarer and not any(pods.wanted_replicas(item) for _, item in selected):
        found = [(kind, _with_lent_template(item, common)) for kind, item in await _rarer(gathering, service)]
        selected = _topmost(_selected(service, selector, found)) or selected
    for kind, item in selected:
        gathering.keep(kind, item)
        gathering.connect(service, Relation.SELECTS, meta.ref_of(service.cluster, kind, item))
    if not selected:
        for kind, items in zip(COMMON, lists, strict=True):
            for item in meant_for(service, selector, items):
                gathering.keep(kind, item)
                ref = meta.ref_of(service.cluster, kind, item)
                gathering.connect(service, Relation.MEANT_FOR, ref)
    return [meta.ref_of(service.cluster, kind, item) for kind, item in selected]


async def _rarer(gathering: Gathering, service: ResourceRef) -> Found:
    """Rollouts only where the server has the kind; of ReplicaSets those that carry the Service's labels."""
    query = selectors.simple_query(texts(gathering.find(service) or {}, "spec", "selector"))
    lists = await asyncio.gather(
        *(
            gathering.listing(
                kind, service.namespace, labels=query if kind == "ReplicaSet" else "", optional=True
            )
            for kind in _RARER
        )
    )
    return [(kind, item) for kind, items in zip(_RARER, lists, strict=True) for item in items]


def _selected(service: ResourceRef, selector: dict[str, str], workloads: Found) -> Found:
    return [
        (kind, item)
        for kind, item in workloads
        if selectors.picks_template(selector, template_labels(meta.ref_of(service.cluster, kind, item), item))
    ]


def _topmost(found: Found) -> Found:
    """Without ReplicaSets that something above stands for; one whose owner may not be read stands for itself."""
    others = [(kind, item) for kind, item in found if kind != "ReplicaSet"]
    bare = [
        (kind, item)
        for kind, item in found
        if kind == "ReplicaSet"
        and (
            meta.owner(item) is None
            or (not others and not _of_deployment(item) and pods.wanted_replicas(item))
        )
    ]
    return others + bare


def _of_deployment(replica_set: JSON) -> bool:
    owner = meta.owner(replica_set)
    return owner is not None and owner[0] == "Deployment"


def _with_lent_template(item: JSON, common: Found) -> JSON:
    """A Rollout with the template of the Deployment that it refers to instead of having one of its own."""
    lender = mapping(item, "spec", "workloadRef")
    for kind, each in common if lender else ():
        if (kind, meta.name(each)) == (text(lender, "kind"), text(lender, "name")):
            spec = {**mapping(item, "spec"), "template": mapping(each, "spec", "template")}
            return {**item, "spec": spec}
    return item
