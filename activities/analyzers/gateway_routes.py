"""Routes of the Gateway API that lead nowhere, and what their controller refuses."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind, GapReason
from cortexops.domain.findings import (
    Subject,
    alerted_at,
    is_troubled,
    own_subjects,
    seen_until,
    serves_badly,
)
from cortexops.domain.kubernetes import commands, gateways, meta
from cortexops.domain.kubernetes.spans import span
from cortexops.domain.kubernetes.values import number, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_EXPLAINS = (Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED)
_LATELY = timedelta(hours=24)
_LONG_SO = 0.5
_TOO_SHORT = timedelta(seconds=2)
_HASTY = 0.75
_PATIENCE = timedelta(minutes=5)


@analyzer("gateway_routes")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    if scene.target.kind not in ("Service", *gateways.KINDS) and not serves_badly(scene):
        return []
    found: list[Hypothesis] = []
    for kind in gateways.KINDS:
        for ref, live in scene.of_kind(kind):
            problem = _lost_backend(scene, ref, live) if kind == "HTTPRoute" else ""
            said = gateways.refusals(live)
            direct, precedes = 0.95 if problem else 0.9, None
            if not problem and said:
                first = said[0]
                problem = f"has {first.condition}=False, {first.reason}: {first.message[:200]}"
                if first.since is not None and first.since <= scene.onset:
                    lately = first.since >= scene.onset - _LATELY
                    precedes = True if lately else None
                    if not lately and ref != scene.target:
                        direct = _LONG_SO  # the alert is of today
            if not problem and kind == "Gateway" and _untaken(scene, live):
                problem = f"of class {text(live, 'spec', 'gatewayClassName') or '?'} has been taken up by no controller"
            if problem:
                found.append(_hypothesis(book, ref, live, problem, direct, precedes))
            elif kind == "HTTPRoute" and (late := _gives_up(scene, live)):
                found.append(_hypothesis(book, ref, live, late, _HASTY, True))
    return found


def _gives_up(scene: Scene, route: JSON) -> str:
    """That it waits too short for answers, as it was told to shortly before an alert about those, while what is
    behind it is well."""
    write, born = meta.writes(route, "spec", "rules"), meta.created(route)
    if (
        write is None
        or born is None
        or write.at <= born
        or write.at > alerted_at(scene)
        or not serves_badly(scene)
    ):
        return ""
    if not scene.clocks_apart and write.at < scene.onset - _LATELY:
        return ""
    if any(is_troubled(scene, subject) for subject in own_subjects(scene)):
        return ""
    for rule in objects(route, "spec", "rules"):
        for field in ("request", "backendRequest"):
            given = text(rule, "timeouts", field)
            limit = span(given)
            if limit and limit <= _TOO_SHORT:
                since = f"{write.at:%Y-%m-%d %H:%M:%S} UTC"
                return f"gives up on what is behind it after {given}, since it was changed at {since}"
    return ""


def _untaken(scene: Scene, gateway: JSON) -> bool:
    """Whether a Gateway is old enough for its controller to have seen it, and has not."""
    born = meta.created(gateway)
    young = born is None or (not scene.clocks_apart and seen_until(scene) - born < _PATIENCE)
    return gateways.untaken(gateway) and not young


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


def _hypothesis(
    book: EvidenceBook, ref: ResourceRef, live: JSON, problem: str, direct: float, precedes: bool | None
) -> Hypothesis:
    cited = book.cite(EvidenceKind.CONFIG, ref, f"{ref} {problem}", command=commands.show(ref))
    return Hypothesis(
        resource=ref,
        category=Category.SERVICE_MISROUTED,
        summary=f"{ref} {problem}",
        support=support(Subject(ref, live, ()), direct, precedes=precedes, steps=1),
        evidence=(cited,),
        explains=_EXPLAINS,
    )
