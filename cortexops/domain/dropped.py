"""Connections that time out, and policies that drop them: what analyzers of network policies have in common."""

from __future__ import annotations

import re
from typing import NamedTuple

from cortexops.domain.citing import cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import DNS, Subject, backing, complaints_about, log_lines, template_labels
from cortexops.domain.kubernetes import addon_policies, complaints, hosts, meta, network
from cortexops.domain.kubernetes.addon_policies import Says
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED,
    Category.EXTERNAL_DEPENDENCY, Category.INIT_CONTAINER_FAILED, Category.CONFIGMAP_CHANGED,
)  # fmt: skip
"""What a dropped connection makes of workloads."""
_DNS_PORT = 53
API_SERVER = "the API server"
_API_PORTS = (443, 6443)
"""Of its Service, and of what stands behind that: networks differ in which one a policy sees."""
_OF_THE_API = re.compile(r"https://[\w.:\[\]-]+/(?:api/v1|apis/[a-z0-9.-]+/v\d\w*|version|openapi)\b")


class Call(NamedTuple):
    """A connection that times out."""

    what: str
    peer: network.Peer
    callee: ResourceRef | None
    ports: tuple[int, ...]
    line: str
    log: tuple[ResourceRef, str, bool]


def calls_of(scene: Scene, subject: Subject) -> list[Call]:
    """The connections of the subject that its logs say time out, one for each peer."""
    found: dict[str, Call] = {}
    for pod, container, previous, lines in log_lines(scene, subject):
        slow = list(dict.fromkeys([*complaints.slow(lines), *complaints.resolving(lines)]))
        for service in scene.topology.out(subject.ref, Relation.CALLS):
            for line in complaints_about(scene, subject, service, slow):
                workloads = backing(scene, service)
                callee = workloads[0] if workloads else None
                peer = (
                    peer_of(scene, callee) if callee is not None else network.Peer(service.namespace, {}, {})
                )
                found.setdefault(
                    str(service),
                    Call(
                        str(service), peer, callee, _ports(scene, service), line, (pod, container, previous)
                    ),
                )
        for line in complaints.slow(lines):
            if _OF_THE_API.search(line):
                log, anybody = (pod, container, previous), network.Peer("", {}, {})
                found.setdefault(API_SERVER, Call(API_SERVER, anybody, None, _API_PORTS, line, log))
                continue
            for host in hosts.hosts_in_line(line) if not complaints.resolving([line]) else ():
                if hosts.is_external(host):
                    call = Call(host, network.Peer("", {}, {}), None, (), line, (pod, container, previous))
                    found.setdefault(host, call)
    return list(found.values())


def peer_of(scene: Scene, ref: ResourceRef) -> network.Peer:
    """A workload as policies see it."""
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


def policies_on(scene: Scene, ref: ResourceRef, direction: str) -> list[tuple[ResourceRef, JSON]]:
    """The NetworkPolicies that isolate the workload in that direction."""
    labels = template_labels(scene, ref)
    return [
        (policy, live)
        for policy in scene.topology.into(ref, Relation.RESTRICTS)
        if (live := scene.get(policy)) is not None and network.restricts(live, labels, direction)
    ]


def admitted_by_addon(
    scene: Scene, end: ResourceRef, direction: str, there: network.Peer, ports: tuple[int, ...]
) -> bool:
    """Whether a policy of Cilium or Calico lets the connection through, or may: what one allows is allowed."""
    here = peer_of(scene, end)
    return any(
        addon_policies.says(ref.kind, scene.get(ref) or {}, direction, here, there, ports)
        in (Says.ALLOWS, Says.UNSURE)
        for ref in scene.topology.into(end, Relation.ACTS_ON)
        if ref.kind in addon_policies.KINDS
    )


def written(live: JSON) -> float:
    """When it was written last, in seconds; 0 where that is not known."""
    write = meta.last_write(live)
    return write.at.timestamp() if write else 0.0


def dropped_by(
    scene: Scene, book: EvidenceBook, subject: Subject, policy: ResourceRef, live: JSON, direction: str,
    call: Call, direct: float,
) -> Hypothesis:  # fmt: skip
    """That the policy drops the connection."""
    pod, container, previous = call.log
    evidence = [
        cite_log(book, pod, container, previous, [call.line], f"tells that {call.what} does not answer")
    ]
    evidence.append(cite_policy(book, policy, live))
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
        explains=EXPLAINS,
        facts={"direction": direction, "policy": policy.name},
    )


def cite_policy(book: EvidenceBook, policy: ResourceRef, live: JSON) -> str:
    """Who wrote the policy last, with what it says."""
    write = meta.last_write(live)
    excerpt = str(live.get("spec"))[:600]
    return cite_write(book, policy, f"{policy} was written last", write, excerpt=excerpt)
