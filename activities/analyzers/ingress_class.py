"""An Ingress that no controller takes: it names a class that does not exist, or none where none is the default."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind, GapReason
from cortexops.domain.findings import Subject
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.scene import Scene

_ANNOTATION = "kubernetes.io/ingress.class"
_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_LATELY = timedelta(hours=24)


@analyzer("ingress_class")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    ref, ingress = scene.target, scene.get(scene.target)
    if ref.kind != "Ingress" or ingress is None or objects(ingress, "status", "loadBalancer", "ingress"):
        return []  # somebody serves it
    classes = {its.name: live for its, live in scene.of_kind("IngressClass")}
    if not classes or any(
        gap.reason is not GapReason.NO_DATA and "ingressclass" in gap.what for gap in scene.gaps
    ):
        return []
    named, noted = (
        text(ingress, "spec", "ingressClassName"),
        meta.annotations_of(ingress).get(_ANNOTATION, ""),
    )
    there = ", ".join(sorted(classes))
    if named or noted:
        if (named or noted) in classes:
            return []
        says = f"{ref} names the class {named or noted}, which does not exist (there is {there})"
        direct = 0.95 if named else 0.75  # controllers may watch for an annotation that no class is called
    else:
        if any(meta.annotations_of(live).get(_DEFAULT) == "true" for live in classes.values()):
            return []
        says = f"{ref} names no class, and none is the default (there is {there})"
        direct = 0.85
    write = meta.writes(ingress, "spec", "ingressClassName")
    before = write is not None and scene.onset - _LATELY <= write.at <= scene.onset
    cited = cite_write(book, ref, says, write if before else None, unknown=EvidenceKind.CONFIG)
    return [
        Hypothesis(
            resource=ref,
            category=Category.SERVICE_MISROUTED,
            summary=f"{says}: no controller serves it, it has no address",
            support=support(Subject(ref, ingress, ()), direct, precedes=True if before else None),
            evidence=(cited,),
            facts={"class": named or noted, "classes": there},
        )
    ]
