"""NetworkPolicies that drop connections which the target needs, or which others make to it."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import (
    DNS,
    Subject,
    backing,
    complaints_about,
    is_troubled,
    log_lines,
    serves_badly,
    subjects,
    template_labels,
    template_spec,
)
from cortexops.domain.kubernetes import complaints, hosts, meta, network, pods
from cortexops.domain.kubernetes.values import number, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED,
    Category.EXTERNAL_DEPENDENCY, Category.INIT_CONTAINER_FAILED, Category.CONFIGMAP_CHANGED,
)  # fmt: skip
_RECENT = timedelta(hours=24)
_DNS_PORT = 53


class _Call(NamedTuple):
    """A connection that times out."""

    what: str
    peer: network.Peer
    callee: ResourceRef | None
    ports: tuple[int, ...]
    line: str
    log: tuple[ResourceRef, str, bool]


@analyzer("network_policy")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        calls = _calls(scene, subject)
        for call in calls:
            found += _dropped(scene, book, subject, call)
        if not calls and serves_badly(scene) and not is_troubled(scene, subject):
            found += _isolated(scene, book, subject)
    return list({(h.resource, h.category): h for h in reversed(found)}.values())


def _calls(scene: Scene, subject: Subject) -> list[_Call]:
    found: dict[str, _Call] = {}
    for pod, container, previous, lines in log_lines(scene, subject):
        slow = list(dict.fromkeys([*complaints.slow(lines), *complaints.resolving(lines)]))
        for service in scene.topology.out(subject.ref, Relation.CALLS):
            for line in complaints_about(scene, subject, service, slow):
                workloads = backing(scene, service)
                callee = workloads[0] if workloads else None
                peer = _peer(scene, callee) if callee is not None else network.Peer(service.namespace, {}, {})
                found.setdefault(
                    str(service),
                    _Call(
                        str(service), peer, callee, _ports(scene, service), line, (pod, container, previous)
                    ),
                )
        for line in complaints.slow(lines):
            for host in hosts.hosts_in_line(line) if not complaints.resolving([line]) else ():
                if hosts.is_external(host):
                    call = _Call(host, network.Peer("", {}, {}), None, (), line, (pod, container, previous))
                    found.setdefault(host, call)
    return list(found.values())


def _peer(scene: Scene, ref: ResourceRef) -> network.Peer:
    namespace = scene.get(scene.ref("Namespace", "", ref.namespace)) or {}
    return network.Peer(ref.namespace, template_labels(scene, ref), meta.labels(namespace))


def _ports(scene: Scene, service: ResourceRef) -> tuple[int, ...]:
    """Ports of the pods behind a Service; policies speak of those, not of the Service's own."""
    if (service.namespace, service.name) == DNS:
        return (_DNS_PORT,)
    found = []
    for port in objects(scene.get(service) or {}, "spec", "ports"):
        target = text(port, "targetPort") or text(port, "port")
        if not target.isdigit():
            return ()
        found.append(int(target))
    return tuple(found)


def _policies(scene: Scene, ref: ResourceRef, direction: str) -> list[tuple[ResourceRef, JSON]]:
    labels = template_labels(scene, ref)
    return [
        (policy, live)
        for policy in scene.topology.into(ref, Relation.RESTRICTS)
        if (live := scene.get(policy)) is not None and network.restricts(live, labels, direction)
    ]


def _dropped(scene: Scene, book: EvidenceBook, subject: Subject, call: _Call) -> list[Hypothesis]:
    """Policies that isolate one end, none of which lets the connection through."""
    ways = [("Egress", subject.ref, call.peer)]
    if call.callee is not None:
        ways.append(("Ingress", call.callee, _peer(scene, subject.ref)))
    found = []
    for direction, end, peer in ways:
        policies = _policies(scene, end, direction)
        if not policies or any(network.admits(live, direction, peer, call.ports) for _, live in policies):
            continue
        policy, live = max(policies, key=lambda item: (_since(item[1]), item[0].name))
        found.append(_hypothesis(scene, book, subject, policy, live, direction, call, 0.95))
    return found


def _since(live: JSON) -> float:
    write = meta.last_write(live)
    return write.at.timestamp() if write else 0.0


def _hypothesis(
    scene: Scene, book: EvidenceBook, subject: Subject, policy: ResourceRef, live: JSON, direction: str,
    call: _Call, direct: float,
) -> Hypothesis:  # fmt: skip
    pod, container, previous = call.log
    evidence = [
        cite_log(book, pod, container, previous, [call.line], f"tells that {call.what} does not answer")
    ]
    evidence.append(_cite(book, policy, live))
    write = meta.last_write(live)
    precedes = True if write is not None and write.at <= scene.onset else None
    way = f"from {subject.ref} to {call.what}"
    return Hypothesis(
        resource=policy,
        category=Category.NETWORK_POLICY,
        summary=f"{policy} does not let connections {way} through ({direction.lower()}): they time out"
        + (", and names cannot be resolved" if call.ports == (_DNS_PORT,) else ""),
        support=support(subject, direct, precedes=precedes, steps=1),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        facts={"direction": direction, "policy": policy.name},
    )


def _cite(book: EvidenceBook, policy: ResourceRef, live: JSON) -> str:
    write = meta.last_write(live)
    excerpt = str(live.get("spec"))[:600]
    return cite_write(book, policy, f"{policy} was written last", write, excerpt=excerpt)


def _isolated(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    """The target is well and says nothing, callers do not reach it, and a policy on it is new."""
    ready = [pod for _, pod in subject.pods if pods.is_ready(pod)]
    if not ready or any(complaints.complaining(lines) for *_, lines in log_lines(scene, subject)):
        return []
    declared = [
        number(port, "containerPort")
        for container in objects(template_spec(subject), "containers")
        for port in objects(container, "ports")
    ]
    anybody = network.Peer("", {}, {})
    found = []
    for policy, live in _policies(scene, subject.ref, "Ingress"):
        write = meta.last_write(live)
        recent = write is not None and scene.onset - _RECENT <= write.at <= scene.onset
        if not recent or network.admits(live, "Ingress", anybody, tuple(declared)):
            continue
        found.append(
            Hypothesis(
                resource=policy,
                category=Category.NETWORK_POLICY,
                summary=f"{policy} restricts who may connect to {subject.ref} and was written shortly before"
                " callers stopped reaching it",
                support=support(subject, 0.75, precedes=True, steps=1),
                evidence=(_cite(book, policy, live),),
                explains=_EXPLAINS,
                facts={"direction": "Ingress", "policy": policy.name},
            )
        )
    return found
