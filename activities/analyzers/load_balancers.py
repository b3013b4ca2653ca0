"""Services and Ingresses that were to get an address outside of the cluster, and got none."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_event, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject
from cortexops.domain.kubernetes import commands
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_REFUSED = (
    "SyncLoadBalancerFailed", "CreatingLoadBalancerFailed", "UpdateLoadBalancerFailed", "AllocationFailed",
    "FailedBuildModel", "FailedDeployModel",
)  # fmt: skip
"""What the controllers of clouds, of AWS and MetalLB call it."""
_COMMON = ("Sync", "Translate")
_OF_GOOGLE = re.compile(
    r"(?i)error (?:running load ?balancer|syncing to gcp)|googleapi:|forwarding rule|static ip"
)
"""What tells that of GKE from what others mean by the same reasons."""
_OUTSIDE = re.compile(
    r"(?i)load.?balanc|external|ingress|probe.?failed|blackbox|public|unreachable|pending|\baddress\b"
)
"""Alerts that are about what comes from outside; of others nobody knows whether they ask for that address."""


@analyzer("load_balancers")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found = []
    for ref in (scene.target, *scene.topology.into(scene.target, Relation.SELECTS)):
        live = scene.get(ref) or {}
        if _wants_one(ref, live) and not objects(live, "status", "loadBalancer", "ingress"):
            hypothesis = _of(scene, book, ref, live)
            found += [hypothesis] if hypothesis is not None else []
    return found


def _wants_one(ref: ResourceRef, live: JSON) -> bool:
    return ref.kind == "Ingress" or (ref.kind == "Service" and text(live, "spec", "type") == "LoadBalancer")


def _of(scene: Scene, book: EvidenceBook, ref: ResourceRef, live: JSON) -> Hypothesis | None:
    refused = [
        event
        for event in scene.events_about(ref, *_REFUSED, *_COMMON)
        if event.type == "Warning" and (event.reason in _REFUSED or _OF_GOOGLE.search(event.message))
    ]
    if not refused:
        return None  # on many clusters nobody hands out addresses, and nobody misses them
    asked = ref == scene.target and any(_OUTSIDE.search(f"{s.name} {s.summary}") for s in scene.signals)
    evidence = (
        cite_event(book, refused[0]),
        book.cite(
            EvidenceKind.STATUS, ref, f"{ref} has no address outside of the cluster",
            command=commands.show(ref),
        ),
    )  # fmt: skip
    return Hypothesis(
        resource=ref,
        category=Category.SERVICE_MISROUTED,
        summary=f"{ref} gets no load balancer, and no address outside of the cluster: {refused[0].message[:240]}",
        support=support(Subject(ref, live, ()), 0.95 if asked else 0.5),
        evidence=evidence,
    )
