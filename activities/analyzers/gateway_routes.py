"""Routes of the Gateway API that lead nowhere, and what their controller refuses."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind, GapReason
from cortexops.domain.findings import Subject, serves_badly
from cortexops.domain.kubernetes import commands, gateways
from cortexops.domain.kubernetes.values import number, objects
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_EXPLAINS = (Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED)


@analyzer("gateway_routes")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if scene.target.kind not in ("Service", *gateways.KINDS) and not serves_badly(scene):
        return []
    found: list[Hypothesis] = []
    for kind in gateways.KINDS:
        for ref, live in scene.of_kind(kind):
            problem = _lost_backend(scene, ref, live) if kind == "HTTPRoute" else ""
            said = gateways.refusals(live)
            direct = 0.95 if problem else 0.9
            if not problem and said:
                condition, reason, message = said[0]
                problem = f"has {condition}=False, {reason}: {message[:200]}"
            if problem:
                found.append(_hypothesis(book, ref, live, problem, direct))
    return found


def _lost_backend(scene: Scene, ref: ResourceRef, route: JSON) -> str:
    for backend in gateways.backends(route):
        service = scene.ref("Service", backend.namespace, backend.name)
        live = scene.get(service)
        if live is None:
            what = f"get services/{service.name} in namespace {service.namespace}"
            if any(gap.reason is GapReason.NO_DATA and gap.what == what for gap in scene.gaps):
                return f"routes to {service}, which does not exist"
            continue
        has = [number(port, "port") for port in objects(live, "spec", "ports")]
        if backend.port and has and backend.port not in has:
            return f"routes to port {backend.port} of {service}, which has only {', '.join(map(str, has))}"
    return ""


def _hypothesis(book: EvidenceBook, ref: ResourceRef, live: JSON, problem: str, direct: float) -> Hypothesis:
    cited = book.cite(EvidenceKind.CONFIG, ref, f"{ref} {problem}", command=commands.show(ref))
    return Hypothesis(
        resource=ref,
        category=Category.SERVICE_MISROUTED,
        summary=f"{ref} {problem}",
        support=support(Subject(ref, live, ()), direct, steps=1),
        evidence=(cited,),
        explains=_EXPLAINS,
    )
