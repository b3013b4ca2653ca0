"""Istio's rules on who may connect: mutual TLS that one end does not speak, policies that refuse, Sidecars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.kubernetes import mesh, meta
from cortexops.domain.kubernetes.mesh import Fits
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.mesh_calls import (
    EXPLAINS,
    Call,
    acting_on,
    caller_of,
    calls,
    is_ill,
    lately,
    outside_mesh,
    servers,
)
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_MUTUAL = ("ISTIO_MUTUAL", "MUTUAL")


class _Problem(NamedTuple):
    """What is wrong with which object, and how directly that shows."""

    ref: ResourceRef
    live: JSON
    says: str
    direct: float


@analyzer("mesh_policies")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    for call in calls(scene):
        for problem in (*_by_encryption(scene, call), *_by_refusal(scene, call), *_by_sidecar(scene, call)):
            hypothesis = _hypothesis(scene, book, call, problem)
            before = found.get(problem.ref)
            if before is None or before.support.direct < hypothesis.support.direct:
                found[problem.ref] = hypothesis
    return list(found.values())


def _by_encryption(scene: Scene, call: Call) -> Iterator[_Problem]:
    """One end speaks mutual TLS and the other does not."""
    if (call.lines and not mesh.cut(call.lines)) or is_ill(scene, call.service):
        return
    behind = servers(scene, call.service)
    bare = outside_mesh(scene, behind)
    policies = [(ref, live) for each in behind for ref, live in acting_on(scene, "PeerAuthentication", each)]
    strict = mesh.strict([live for _, live in policies])
    ref = next((ref for ref, live in policies if live is strict), None)
    member = caller_of(scene, call.subject).in_mesh
    if strict is not None and ref is not None and bare is not True:
        only = f"makes {call.service} take mutual TLS only"
        if not call.inbound and not member and call.lines:
            yield _Problem(ref, strict, f"{only}, and {call.subject.ref} has no proxy that speaks it", 1.0)
        elif call.inbound and not call.lines and bare is False and lately(scene, strict):
            yield _Problem(ref, strict, f"{only}; who calls it without a proxy of the mesh is cut off", 0.85)
    for rule_ref, rule in acting_on(scene, "DestinationRule", call.service):
        modes = {text(policy, "tls", "mode") for policy in mesh.traffic_policies(rule)}
        if modes & set(_MUTUAL) and bare and (call.lines or lately(scene, rule)):
            says = f"makes callers speak mutual TLS to {call.service}, whose pods have no proxy that does"
            yield _Problem(rule_ref, rule, says, 0.97 if call.lines else 0.85)
        if "DISABLE" in modes and strict is not None and (member or call.inbound) and not bare:
            says = (
                f"makes callers speak plain text to {call.service}, and {ref} makes that take mutual TLS only"
            )
            yield _Problem(rule_ref, rule, says, 0.97 if call.lines else 0.85)
        if "SIMPLE" in modes and any("wrong version" in line.lower() for line in call.lines):
            says = f"makes callers speak TLS to {call.service}, which answers in plain text"
            yield _Problem(rule_ref, rule, says, 0.95)


def _by_refusal(scene: Scene, call: Call) -> Iterator[_Problem]:
    """AuthorizationPolicies that refuse the caller. Of callers that are not known, only a policy for nobody."""
    if not mesh.refused(call.lines) and not (call.inbound and not call.lines):
        return
    policies = {
        ref: live
        for each in servers(scene, call.service)
        for ref, live in acting_on(scene, "AuthorizationPolicy", each)
    }
    allowing: list[tuple[ResourceRef, JSON]] = []
    caller = caller_of(scene, call.subject)
    for ref, live in policies.items():
        kind = text(live, "spec", "action") or "ALLOW"
        if kind == "ALLOW":
            allowing.append((ref, live))
        elif kind == "DENY" and not call.inbound and mesh.admits(live, caller) is not Fits.NO:
            sure = mesh.admits(live, caller) is Fits.YES
            if sure or lately(scene, live):
                yield _Problem(
                    ref, live, f"denies {call.subject.ref} requests to {call.service}", 1.0 if sure else 0.9
                )
        elif kind == "DENY" and call.inbound and lately(scene, live) and _for_all(live):
            yield _Problem(ref, live, f"denies everybody requests to {call.service}", 0.97)
    if not allowing:
        return
    ref, live = max(allowing, key=lambda each: (_written(each[1]), each[0].name))
    if call.inbound:
        if lately(scene, live) and not any(objects(its, "spec", "rules") for _, its in allowing):
            yield _Problem(ref, live, f"lets nobody send requests to {call.service}", 0.97)
        elif lately(scene, live) and call.lines:
            yield _Problem(ref, live, f"refuses requests to {call.service}", 0.85)
        return
    best = max(mesh.admits(its, caller) for _, its in allowing)
    if best is Fits.NO:
        yield _Problem(ref, live, f"does not let {call.subject.ref} send requests to {call.service}", 1.0)
    elif best is Fits.PERHAPS and lately(scene, live):
        yield _Problem(ref, live, f"lets {call.subject.ref} send only some requests to {call.service}", 0.85)


def _for_all(policy: JSON) -> bool:
    """Whether some rule of it asks nothing of the caller or the request."""
    return any(
        not rule.get("from") and not rule.get("to") and not rule.get("when")
        for rule in objects(policy, "spec", "rules")
    )


def _by_sidecar(scene: Scene, call: Call) -> Iterator[_Problem]:
    """A Sidecar that does not list whom its workload calls."""
    if call.inbound or not call.lines or is_ill(scene, call.service):
        return
    for ref, live in acting_on(scene, "Sidecar", call.subject.ref):
        if mesh.lets_out(live, call.subject.ref.namespace, call.place):
            continue
        closed = text(live, "spec", "outboundTrafficPolicy", "mode") == "REGISTRY_ONLY"
        if closed or lately(scene, live):
            says = f"does not list {call.service} among those that {call.subject.ref} may call"
            yield _Problem(ref, live, says, 0.97 if closed else 0.8)


def _written(live: JSON) -> float:
    write = meta.last_write(live)
    return write.at.timestamp() if write else 0.0


def _hypothesis(scene: Scene, book: EvidenceBook, call: Call, problem: _Problem) -> Hypothesis:
    write = lately(scene, problem.live)
    told = bool(call.lines)
    direct = problem.direct * call.sure * (1.0 if write else 0.85 if told else 0.6)
    cited = cite_write(
        book, problem.ref, f"{problem.ref} {problem.says}; it was written last", meta.last_write(problem.live),
        excerpt=str(problem.live.get("spec")),
    )  # fmt: skip
    return Hypothesis(
        resource=problem.ref,
        category=Category.MESH_POLICY,
        summary=f"{problem.ref} {problem.says}",
        support=support(call.subject, direct, precedes=True if write else None, steps=1),
        evidence=(cited, *call.cite(book)),
        explains=(*EXPLAINS, Category.SECRET_CHANGED),
        facts={"service": call.service.name},
    )
