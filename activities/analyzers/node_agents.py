"""What every pod of a node needs from the node: its network proxy, DNS cache, volume driver, pod addresses."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_complaint, cite_event, cite_log, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, backing, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import commands, complaints, hosts, meta, pods
from cortexops.domain.kubernetes.nodes import (
    SETUP_EVENTS,
    Role,
    being_set_up,
    file_server,
    missing_attacher,
    missing_driver,
    out_of_addresses,
    roles,
    serves_driver,
)
from cortexops.domain.kubernetes.placement import unselected, untolerated
from cortexops.domain.kubernetes.references import claims
from cortexops.domain.kubernetes.storage import provides
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import EventFact, Scene
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of
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
    unattached = _unattached(scene, book, subject, setups)
    if unattached is not None:
        return [unattached]
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
    return found or _absent(scene, book, subject, node, setups)


def _unattached(
    scene: Scene, book: EvidenceBook, subject: Subject, setups: list[EventFact]
) -> Hypothesis | None:
    """Who attaches volumes of a driver for the whole cluster, or serves their files, where no pod of it is ready."""
    for event in setups:
        driver, host = missing_attacher(event.message), file_server(event.message)
        for ref in _providers(scene, driver) if driver else _servers(scene, host) if host else ():
            live = scene.get(ref) or {}
            if not live or pods.ready_replicas(live):
                continue
            does = f"attaches volumes of driver {driver}" if driver else f"serves the files at {host} (NFS)"
            evidence = [
                book.cite(
                    EvidenceKind.STATUS, ref, f"{ref} has no ready pods", command=commands.describe(ref)
                ),
                cite_event(book, event),
            ]
            cited, said = cite_complaint(book, scene, subject_of(scene, ref))
            return Hypothesis(
                resource=ref,
                category=Category.DEPENDENCY_DOWN,
                summary=f"{ref}, which {does}, has no ready pods{said}: pods of {subject.ref} cannot be set up",
                support=support(subject, 1.0, steps=2),
                evidence=(*evidence, *cited),
                explains=_EXPLAINS,
                facts={"driver": driver} if driver else {"server": host},
            )
    return None


def _providers(scene: Scene, driver: str) -> list[ResourceRef]:
    kinds = ("Deployment", "StatefulSet")
    return [ref for kind in kinds for ref, live in scene.of_kind(kind) if provides(live, driver)]


def _servers(scene: Scene, host: str) -> list[ResourceRef]:
    """The workloads behind the Service of that address or name."""
    address = hosts.service_address(host, "") if "." in host else None
    return [
        workload
        for ref, live in scene.of_kind("Service")
        if text(live, "spec", "clusterIP") == host or (ref.namespace, ref.name) == address
        for workload in backing(scene, ref)
    ]


def _absent(
    scene: Scene, book: EvidenceBook, subject: Subject, node: ResourceRef, setups: list[EventFact]
) -> list[Hypothesis]:
    """A volume driver whose DaemonSet has no pod on the node, because it does not want to go there."""
    said = [event for event in setups if missing_driver(event.message)]
    found = []
    for agent in scene.topology.into(node, Relation.MEANT_FOR) if said else ():
        live, where = scene.get(agent) or {}, scene.get(node) or {}
        spec = mapping(live, "spec", "template", "spec")
        taint, label = untolerated(where, spec), unselected(where, spec)
        driver = missing_driver(said[0].message)
        why = "is not on it"
        if taint:
            why = f"does not tolerate its taint {taint}"
        elif label:
            why = f"selects nodes by the label {label}, which it has not"
        cited = book.cite(
            EvidenceKind.CONFIG,
            agent,
            f"{agent} has no pod on {node}: it {why}",
            command=commands.show(agent),
        )
        found.append(
            Hypothesis(
                resource=agent,
                category=Category.SCHEDULING,
                summary=f"{agent}, which {Role.VOLUMES.value} of driver {driver} on each node, has no pod on {node}:"
                f" it {why}; pods of {subject.ref} cannot be set up there",
                support=support(subject, 1.0 if taint or label else 0.9, steps=2),
                evidence=(cited, cite_event(book, said[0])),
                explains=_EXPLAINS,
                facts={"node": node.name, "driver": driver},
            )
        )
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
        if said:
            return [cite_event(book, said[0])], 1.0
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
