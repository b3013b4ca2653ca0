"""DaemonSets without a pod on the very node that the alert speaks of: they do not want to go there."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, own_subjects, template_spec
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.placement import unselected, untolerated
from cortexops.domain.kubernetes.values import number
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_LATELY = timedelta(hours=24)


@analyzer("daemons")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """The set counts only nodes that it wants, so its own status says that all is well."""
    found = []
    told = " ".join(text for signal in scene.signals for text in (signal.summary, *signal.labels.values()))
    for subject in own_subjects(scene):
        if subject.ref.kind != "DaemonSet" or not subject.obj:
            continue
        if not number(subject.obj, "status", "desiredNumberScheduled") and not subject.pods:
            nowhere = _nowhere(scene, book, subject)
            found += [nowhere] if nowhere is not None else []
            continue
        served = {pods.node_name(pod) for _, pod in subject.pods}
        for ref, node in scene.of_kind("Node"):
            named = re.search(rf"(?<![\w.-]){re.escape(ref.name)}(?![\w-])", told)
            if named and ref.name not in served:
                hypothesis = _of(scene, book, subject, ref, node)
                found += [hypothesis] if hypothesis is not None else []
    return found


def _nowhere(scene: Scene, book: EvidenceBook, subject: Subject) -> Hypothesis | None:
    """No node at all has the labels that the set selects nodes by. Some sets are put to sleep so, on purpose."""
    spec = template_spec(subject)
    nodes = [node for _, node in scene.of_kind("Node")]
    missing = [unselected(node, spec) for node in nodes]
    if not nodes or not all(missing):
        return None
    write = meta.writes(subject.obj, "spec", "template", "spec", "nodeSelector")
    lately = write is not None and scene.onset - _LATELY <= write.at <= scene.onset
    says = f"{subject.ref} selects nodes by the label {missing[0]}, which none of {len(nodes)} has"
    return Hypothesis(
        resource=subject.ref,
        category=Category.SCHEDULING,
        summary=f"{says}{f'; that was written{by_whom(write)} shortly before' if lately else ''}: it wants no pods",
        support=support(subject, 0.95 if lately else 0.65, precedes=True if lately else None),
        evidence=(cite_write(book, subject.ref, says, write, unknown=EvidenceKind.CONFIG),),
        facts={"labels": missing[0]},
    )


def _of(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, node: JSON
) -> Hypothesis | None:
    spec = template_spec(subject)
    taint, label = untolerated(node, spec), unselected(node, spec)
    if not taint and not label:
        return None
    field = "taints" if taint else "labels"
    write = meta.writes(
        node, *(("spec", "taints") if taint else ("metadata", "labels", label.partition("=")[0]))
    )
    has = f"has the taint {taint}" if taint else f"has not the label {label}"
    wants = "does not tolerate it" if taint else "selects its nodes by it"
    return Hypothesis(
        resource=subject.ref,
        category=Category.SCHEDULING,
        summary=f"{subject.ref} has no pod on {ref}: the node {has}, and the set {wants}",
        support=support(subject, 0.9, precedes=True if write and write.at <= scene.onset else None),
        evidence=(
            cite_write(book, ref, f"{ref} {has}", write, unknown=EvidenceKind.CONFIG),
            book.cite(
                EvidenceKind.CONFIG,
                subject.ref,
                f"{subject.ref} {wants}, and has no pod there",
                command=commands.show(subject.ref),
            ),
        ),
        facts={"node": ref.name, field: taint or label},
    )
