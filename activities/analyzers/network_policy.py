"""NetworkPolicies that drop connections which the target needs, or which others make to it."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.dropped import (
    EXPLAINS,
    Call,
    admitted_by_addon,
    calls_of,
    cite_policy,
    dropped_by,
    peer_of,
    policies_on,
    written,
)
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, is_troubled, log_lines, serves_badly, subjects, template_spec
from cortexops.domain.kubernetes import complaints, meta, network, pods
from cortexops.domain.kubernetes.values import number, objects
from cortexops.domain.scene import Scene

_RECENT = timedelta(hours=24)


@analyzer("network_policy")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        calls = calls_of(scene, subject)
        for call in calls:
            found += _dropped(scene, book, subject, call)
        if not calls and serves_badly(scene) and not is_troubled(scene, subject):
            found += _isolated(scene, book, subject)
    return list({(h.resource, h.category): h for h in reversed(found)}.values())


def _dropped(scene: Scene, book: EvidenceBook, subject: Subject, call: Call) -> list[Hypothesis]:
    """Policies that isolate one end, none of which lets the connection through."""
    ways = [("Egress", subject.ref, call.peer)]
    if call.callee is not None:
        ways.append(("Ingress", call.callee, peer_of(scene, subject.ref)))
    found = []
    for direction, end, peer in ways:
        policies = policies_on(scene, end, direction)
        if not policies or any(network.admits(live, direction, peer, call.ports) for _, live in policies):
            continue
        if admitted_by_addon(scene, end, direction, peer, call.ports):
            continue
        policy, live = max(policies, key=lambda item: (written(item[1]), item[0].name))
        found.append(dropped_by(scene, book, subject, policy, live, direction, call, 0.95))
    return found


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
    for policy, live in policies_on(scene, subject.ref, "Ingress"):
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
                evidence=(cite_policy(book, policy, live),),
                explains=EXPLAINS,
                facts={"direction": "Ingress", "policy": policy.name},
            )
        )
    return found
