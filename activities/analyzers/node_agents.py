"""What every pod of a node needs from the node: its network proxy, DNS cache, volume driver, pod addresses."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_event, cite_log, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import commands, complaints, meta, pods
from cortexops.domain.kubernetes.nodes import (
    SETUP_EVENTS,
    Role,
    being_set_up,
    missing_driver,
    out_of_addresses,
    roles,
    serves_driver,
)
from cortexops.domain.kubernetes.references import claims
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import EventFact, Scene
from cortexops.domain.words import counted

_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.EXTERNAL_DEPENDENCY, Category.STUCK_POD, Category.SERVICE_MISROUTED,
    Category.DNS_FAILURE, Category.INIT_CONTAINER_FAILED, Category.STATEFULSET_STUCK,
)  # fmt: skip


@analyzer("node_agents")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[tuple[ResourceRef, ResourceRef], Hypothesis] = {}
    for subject in subjects(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        for node in sorted(
            {_node(scene, pod) for _, pod in subject.pods} - {scene.ref("Node", "", "-")}, key=str
        ):
            for hypothesis in _on(scene, book, subject, node):
                found.setdefault((hypothesis.resource, node), hypothesis)
    return list(found.values())


def _node(scene: Scene, pod: JSON) -> ResourceRef:
    return scene.ref("Node", "", pods.node_name(pod) or "-")


def _on(scene: Scene, book: EvidenceBook, subject: Subject, node: ResourceRef) -> list[Hypothesis]:
    victims = {ref: pod for ref, pod in subject.pods if _node(scene, pod) == node}
    setups = [
        event
        for ref, pod in victims.items()
        if pods.is_unready(pod) and meta.deleting_since(pod) is None
        for event in scene.events_about(ref, *SETUP_EVENTS)
    ]
    short = [event for event in setups if out_of_addresses(event.message)]
    if short:
        return [_no_addresses(book, subject, node, short)]
    found = []
    for ref, pod in scene.pods_on(node):
        owner = meta.owner(pod)
        if ref in victims or owner is None or owner[0] != "DaemonSet" or not pods.is_unready(pod):
            continue
        agent = scene.ref("DaemonSet", ref.namespace, owner[1])
        for role in sorted(roles(agent.name, pod)):
            proof = _proof(scene, book, subject, victims, role, agent, setups, pod)
            if proof is not None:
                evidence, direct = proof
                found.append(_missing(scene, book, subject, node, agent, ref, pod, role, evidence, direct))
                break
    return found


def _proof(
    scene: Scene, book: EvidenceBook, subject: Subject, victims: dict[ResourceRef, JSON], role: Role,
    agent: ResourceRef, setups: list[EventFact], pod: JSON,
) -> tuple[list[str], float] | None:  # fmt: skip
    """Evidence that the pods there lack just what this agent does, and how sure that is."""
    hanging = [pod for pod in victims.values() if being_set_up(pod)] if not setups else []
    if role is Role.VOLUMES and any(claims(mapping(pod, "spec")) for pod in hanging):
        return [], 0.8
    if role is Role.NETWORK and any(not text(pod, "status", "podIP") for pod in hanging):
        return [], 0.8
    if role is Role.VOLUMES:
        said = [e for e in setups if (d := missing_driver(e.message)) and _serves(agent, pod, d)]
        return ([cite_event(book, said[0])], 1.0) if said else None
    if role is Role.NETWORK:
        said = [e for e in setups if e.reason in ("FailedCreatePodSandBox", "NetworkNotReady")]
        return ([cite_event(book, said[0])], 1.0) if said else None
    asked = complaints.resolving if role is Role.NAMES else complaints.unreachable
    evidence: list[str] = []
    elsewhere_heard = elsewhere_complains = False
    for ref, container, previous, lines in log_lines(scene, subject):
        wrong = asked(lines)
        if ref in victims:
            if wrong and not evidence:
                what = (
                    "complains that names are not resolved" if role is Role.NAMES else "does not reach others"
                )
                evidence.append(cite_log(book, ref, container, previous, wrong, what))
        else:
            elsewhere_heard = True
            elsewhere_complains = elsewhere_complains or bool(wrong)
    if not evidence or elsewhere_complains:
        return None  # what is the same on every node is no matter of one node
    return evidence, 0.95 if elsewhere_heard else 0.75


def _serves(agent: ResourceRef, pod: JSON, driver: str) -> bool:
    return any(
        serves_driver(word, driver)
        for word in (agent.name, *(text(c, "image") for c in objects(pod, "spec", "containers")))
    )


def _missing(
    scene: Scene, book: EvidenceBook, subject: Subject, node: ResourceRef, agent: ResourceRef, ref: ResourceRef,
    pod: JSON, role: Role, evidence: list[str], direct: float,
) -> Hypothesis:  # fmt: skip
    bad = [state for state in pods.container_states(pod) if not state.ready]
    why = next((state.waiting for state in bad if state.waiting), "") or "not ready"
    cited = [
        book.cite(
            EvidenceKind.STATUS, agent, f"{ref}, which {role.value} on {node}, is not ready ({why})",
            command=commands.describe(ref),
        )
    ]  # fmt: skip
    for log in scene.logs_of(ref)[:1]:
        wrong = complaints.complaining(log.lines) or list(log.lines[-1:])
        cited.append(cite_log(book, ref, log.container, log.previous, wrong, "says"))
    return Hypothesis(
        resource=agent,
        category=Category.DEPENDENCY_DOWN,
        summary=f"{agent}, which {role.value} on each node, is not ready on {node} ({why}): what pods of"
        f" {subject.ref} lack there",
        support=support(subject, direct, steps=2),
        evidence=(*cited, *evidence),
        explains=_EXPLAINS,
        facts={"node": node.name, "pod": ref.name},
    )


def _no_addresses(
    book: EvidenceBook, subject: Subject, node: ResourceRef, short: list[EventFact]
) -> Hypothesis:
    pods_short = len({event.about for event in short})
    return Hypothesis(
        resource=node,
        category=Category.NODE_PRESSURE,
        summary=f"{node} has no address left for new pods: {counted(pods_short, 'pod')} of {subject.ref} cannot be"
        f" set up there ({short[0].message[-120:].strip()})",
        support=support(subject, 1.0, steps=2),
        evidence=(cite_event(book, short[0]),),
        explains=_EXPLAINS,
        facts={"node": node.name},
    )
