"""Disruption budgets that allow no eviction: a drain waits for ever."""

from __future__ import annotations

from shlex import quote

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, is_troubled, own_subjects
from cortexops.domain.kubernetes import commands, meta
from cortexops.domain.kubernetes.values import dig, number, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation


@analyzer("disruption")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if scene.target.kind == "Node":
        return _of_drain(scene, book)
    budget = scene.get(scene.target)
    if scene.target.kind != "PodDisruptionBudget" or budget is None or not _blocks(budget):
        return []
    if any(is_troubled(scene, subject) for subject in own_subjects(scene)):
        return []  # the workload is not well: that is why nothing may be evicted
    return [_hypothesis(scene, book, scene.target, budget, [])]


def _blocks(budget: JSON) -> bool:
    return number(budget, "status", "disruptionsAllowed", default=-1) == 0 and (
        number(budget, "status", "expectedPods", default=1) > 0
    )


def _of_drain(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """A cordoned node with pods that may not be evicted."""
    node = scene.get(scene.target) or {}
    if dig(node, "spec", "unschedulable") is not True or meta.condition(node, "Ready").status != "True":
        return []
    found = []
    for ref, budget in scene.of_kind("PodDisruptionBudget"):
        held = [pod for pod in scene.topology.out(ref, Relation.GUARDS) if pod.kind == "Pod"]
        if held and _blocks(budget):
            found.append(_hypothesis(scene, book, ref, budget, held))
    if found or (found := _of_two(scene, book)):
        return found
    write = meta.writes(node, "spec", "unschedulable")
    says = f"{scene.target} is cordoned"
    cited = cite_write(book, scene.target, says, write, unknown=EvidenceKind.STATUS)
    return [
        Hypothesis(
            resource=scene.target,
            category=Category.NODE_UNSCHEDULABLE,
            summary=f"{scene.target} is cordoned (unschedulable): no new pods are put there",
            support=support(Subject(scene.target, node, ()), 0.85),
            evidence=(cited,),
        )
    ]


def _of_two(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """Pods that two budgets guard: the API server evicts none of them, however many could be spared."""
    guards: dict[ResourceRef, list[ResourceRef]] = {}
    for ref, _ in scene.of_kind("PodDisruptionBudget"):
        for pod in scene.topology.out(ref, Relation.GUARDS):
            guards.setdefault(pod, []).append(ref)
    for pod, budgets in sorted(guards.items(), key=lambda item: str(item[0])):
        if len(budgets) > 1:
            # the one that came last was one too many
            ref = max(budgets, key=lambda b: (text(scene.get(b), "metadata", "creationTimestamp"), b.name))
            others = ", ".join(str(b) for b in budgets if b != ref)
            cited = book.cite(
                EvidenceKind.TOPOLOGY, ref, f"{pod} is guarded by {ref} and by {others}",
                command=f"kubectl -n {quote(pod.namespace)} get poddisruptionbudgets -o wide",
            )  # fmt: skip
            return [
                Hypothesis(
                    resource=ref,
                    category=Category.PDB_BLOCKS_EVICTION,
                    summary=f"{ref} and {others} guard the same pod {pod.name} on {scene.target}: the API server"
                    " refuses to evict a pod with more than one budget, so that a drain cannot finish",
                    support=support(Subject(ref, scene.get(ref) or {}, ()), 0.95, steps=1),
                    evidence=(cited,),
                    facts={"budget": ref.name, "other_budget": next(b.name for b in budgets if b != ref)},
                )
            ]
    return []


def _hypothesis(
    scene: Scene, book: EvidenceBook, ref: ResourceRef, budget: JSON, held: list[ResourceRef]
) -> Hypothesis:
    healthy, desired = (number(budget, "status", part) for part in ("currentHealthy", "desiredHealthy"))
    evidence = [
        book.cite(
            EvidenceKind.STATUS, ref,
            f"{ref} allows no disruption: {healthy} pods are healthy, {desired} must be",
            command=commands.describe(ref),
        )
    ]  # fmt: skip
    condition = meta.condition(budget, "DisruptionAllowed")
    if condition.status:
        evidence.append(cite_condition(book, ref, condition))
    on = f" on {scene.target}" if scene.target.kind == "Node" else ""
    names = f" of {', '.join(pod.name for pod in held[:3])}{on}" if held else ""
    return Hypothesis(
        resource=ref,
        category=Category.PDB_BLOCKS_EVICTION,
        summary=f"{ref} blocks every eviction{names}: a drain cannot finish",
        support=support(Subject(ref, budget, ()), 0.95, steps=1 if on else 0),
        evidence=tuple(evidence),
        facts={"budget": ref.name},
    )
