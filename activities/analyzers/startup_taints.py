"""Nodes that take no pods yet, as what makes them ready does not run: an agent, a driver, the cloud's controller."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_complaint, cite_condition, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, subjects
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.placement import taints_until_ready, takes_taint
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.troubles import subject_of

_EXPLAINS = (
    Category.SCHEDULING, Category.NODE_UNSCHEDULABLE, Category.BAD_ROLLOUT, Category.DEPENDENCY_DOWN,
    Category.READINESS_PROBE, Category.SERVICE_MISROUTED, Category.STATEFULSET_STUCK, Category.JOB_FAILED,
)  # fmt: skip


@analyzer("startup_taints")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    for subject in subjects(scene):
        for ref, pod in subject.pods:
            condition = meta.condition(pod, "PodScheduled")
            if condition.status != "False" or meta.deleting_since(pod) is not None:
                continue
            for key in taints_until_ready(condition.message):
                for node in _tainted(scene, key):
                    for agent, state in _not_ready(scene, node, key):
                        waits = cite_condition(book, ref, condition)
                        found.setdefault(agent, _of(scene, book, subject, node, key, agent, state, waits))
    return list(found.values())


def _tainted(scene: Scene, key: str) -> list[ResourceRef]:
    return [
        ref
        for ref, node in scene.of_kind("Node")
        if any(text(taint, "key") == key for taint in objects(node, "spec", "taints"))
    ]


def _not_ready(scene: Scene, node: ResourceRef, key: str) -> list[tuple[ResourceRef, str]]:
    """(workload, how its container waits): a DaemonSet whose pod there is not ready, or one without any ready pod."""
    found = []
    for kind in ("DaemonSet", "Deployment", "StatefulSet"):
        for ref, live in scene.of_kind(kind):
            if not takes_taint(live, key):
                continue
            its = [pod for _, pod in subject_of(scene, ref).pods]
            if kind == "DaemonSet":
                its = [pod for pod in its if pods.node_name(pod) == node.name]
            if its and not any(pods.is_ready(pod) for pod in its):
                found.append((ref, _waits(its[0])))
    return found


def _waits(pod: JSON) -> str:
    for state in pods.container_states(pod):
        if not state.ready and state.waiting:
            end = state.waiting_message.rpartition(": ")[2] if state.waiting in pods.PULL_REASONS else ""
            return f"{state.waiting}{f': {end[:120]}' if end else ''}"
    return "not ready"


def _of(
    scene: Scene, book: EvidenceBook, subject: Subject, node: ResourceRef, key: str, agent: ResourceRef, state: str,
    waits: str,
) -> Hypothesis:  # fmt: skip
    where = f" on {node}" if agent.kind == "DaemonSet" else ""
    keeps = "that node" if where else str(node)
    evidence = [
        waits,
        book.cite(
            EvidenceKind.STATUS, agent, f"{agent} is not ready{where} ({state})",
            command=commands.describe(agent),
        ),
    ]  # fmt: skip
    cited, said = cite_complaint(book, scene, subject_of(scene, agent))
    return Hypothesis(
        resource=agent,
        category=Category.DEPENDENCY_DOWN,
        summary=f"{agent} is not ready{where} ({state}){said}, so that {keeps} keeps the taint {key}:"
        f" pods of {subject.ref} find no place",
        support=support(subject, 1.0, steps=2),
        evidence=(*evidence, *cited),
        explains=_EXPLAINS,
        facts={"node": node.name, "taint": key},
    )
