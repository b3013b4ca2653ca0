"""Istio's rules that spoil requests: injected faults, routes that lead nowhere, limits that are too tight."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import signal_types, template_labels
from cortexops.domain.kubernetes import mesh, meta, pods, selectors
from cortexops.domain.kubernetes.mesh import Destination, Fits
from cortexops.domain.kubernetes.spans import span
from cortexops.domain.kubernetes.values import mapping, number, objects, text, texts, words
from cortexops.domain.mesh_calls import (
    EXPLAINS,
    Call,
    acting_on,
    caller_of,
    calls,
    is_absent,
    is_ill,
    lately,
    was_listed,
)
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import SignalType

_TOO_SHORT = timedelta(seconds=2)
_FEW = 10  # connections or requests that a proxy lets through
_OLD = 0.75  # of what has stood there for long before the trouble


class _Problem(NamedTuple):
    """What is wrong with which object, and how directly that shows; `stands` says that its age does not matter."""

    ref: ResourceRef
    live: JSON
    says: str
    direct: float
    stands: bool = False
    besides: tuple[Category, ...] = ()


@analyzer("mesh_routes")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    for call in calls(scene):
        for problem in _problems(scene, call):
            hypothesis = _hypothesis(scene, book, call, problem)
            before = found.get(problem.ref)
            if before is None or before.support.direct < hypothesis.support.direct:
                found[problem.ref] = hypothesis
    return list(found.values())


def _problems(scene: Scene, call: Call) -> Iterator[_Problem]:
    for ref, route in acting_on(scene, "VirtualService", call.service):
        if call.inbound or mesh.on_mesh(route):
            yield from _of_route(scene, call, ref, route)
        if call.inbound:
            yield from _of_gateways(scene, call, ref, route)
    for ref, rule in acting_on(scene, "DestinationRule", call.service):
        yield from _of_limits(scene, call, ref, rule)


def _of_route(scene: Scene, call: Call, ref: ResourceRef, route: JSON) -> Iterator[_Problem]:
    labels = None if call.inbound else caller_of(scene, call.subject).labels
    for rule in mesh.rules(route):
        fits = mesh.rule_fits(rule, labels)
        if fits is Fits.NO:
            continue
        part = 1.0 if fits is Fits.YES else 0.9
        abort, delay = mapping(rule, "fault", "abort"), mapping(rule, "fault", "delay")
        if abort and mesh.percentage(abort) > 0:
            answer = text(abort, "httpStatus") or text(abort, "grpcStatus") or "an error"
            share = f"{mesh.percentage(abort):g} %"
            yield _Problem(
                ref, route, f"aborts {share} of the requests to {call.service} with {answer} on purpose", part
            )
        late = SignalType.LATENCY in signal_types(scene) or bool(mesh.late(call.lines))
        if delay and mesh.percentage(delay) > 0 and late:
            yield _Problem(
                ref, route, f"delays {mesh.percentage(delay):g} % of the requests to {call.service} by"
                f" {text(delay, 'fixedDelay')} on purpose", part,
            )  # fmt: skip
        if not abort or mesh.percentage(abort) < 100:
            for place in mesh.destinations(route, rule):
                yield from _of_destination(scene, ref, route, place, part)
        limit = span(text(rule, "timeout"))
        given_up = bool(mesh.late(call.lines)) and not is_ill(scene, call.service)
        if limit and limit <= _TOO_SHORT and given_up and lately(scene, route):
            says = f"gives up on {call.service} after {text(rule, 'timeout')}, which is too short for its answers"
            yield _Problem(ref, route, says, 0.9)
        if fits is Fits.YES:
            return


def _of_destination(
    scene: Scene, ref: ResourceRef, route: JSON, place: Destination, part: float
) -> Iterator[_Problem]:
    service = scene.ref("Service", place.namespace, place.name)
    live = scene.get(service)
    if live is None:
        if is_absent(scene, "services", place.namespace, place.name):
            yield _Problem(ref, route, f"sends to {service}, which does not exist", 0.97 * part, True)
        return
    has = [number(port, "port") for port in objects(live, "spec", "ports")]
    if place.port and has and place.port not in has:
        known = ", ".join(map(str, has))
        yield _Problem(
            ref, route, f"sends to port {place.port} of {service}, which has only {known}", 0.97 * part, True
        )
    elif place.subset:
        yield from _of_subset(scene, ref, route, place, live, part)
    else:
        yield from _of_nobody(scene, ref, route, place, texts(live, "spec", "selector"), part)


def _of_subset(
    scene: Scene, ref: ResourceRef, route: JSON, place: Destination, service: JSON, part: float
) -> Iterator[_Problem]:
    rules = [
        (its, rule)
        for its, rule in scene.of_kind("DestinationRule")
        if mesh.means(text(rule, "spec", "host"), its.namespace, (place.namespace, place.name))
    ]
    where = f"Service {place.namespace}/{place.name}"
    if not any(mesh.subset(rule, place.subset) for _, rule in rules):
        if not was_listed(scene, "destinationrules") or (not rules and place.namespace != ref.namespace):
            return
        culprit, live = max([(ref, route), *rules], key=lambda each: _written(each[1]))
        says = f"sends to subset {place.subset} of {where}, which no DestinationRule has"
        if culprit != ref:
            says = f"has no subset {place.subset} of {where}, to which {ref} sends"
        yield _Problem(culprit, live, says, 0.97 * part, True)
        return
    its, rule = next(each for each in rules if mesh.subset(each[1], place.subset))
    labels = texts(mesh.subset(rule, place.subset) or {}, "labels")
    selector = texts(service, "spec", "selector") | labels
    if not _meant(scene, place.namespace, selector):
        told = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        says = f"makes subset {place.subset} of {where} of pods with {told}, and no workload has such pods"
        yield _Problem(its, rule, says, 0.97 * part, True)
    else:
        yield from _of_nobody(scene, ref, route, place, selector, part)


def _of_nobody(
    scene: Scene, ref: ResourceRef, route: JSON, place: Destination, selector: dict[str, str], part: float
) -> Iterator[_Problem]:
    """Workloads that were scaled to zero before requests were sent to them."""
    meant = _meant(scene, place.namespace, selector)
    if not meant or any(pods.wanted_replicas(live) for _, live in meant):
        return
    scaled = max(
        (w.at.timestamp() for _, live in meant if (w := meta.writes(live, "spec", "replicas"))), default=0.0
    )
    if scaled <= _written(route):
        names = ", ".join(str(its) for its, _ in meant)
        says = f"sends {place.weight} % of the requests to {names}, which is scaled to zero"
        yield _Problem(ref, route, says, 0.97 * part, True, (Category.SCALED_TO_ZERO,))


def _meant(scene: Scene, namespace: str, selector: dict[str, str]) -> list[tuple[ResourceRef, JSON]]:
    return [
        (ref, live)
        for kind in ("Deployment", "Rollout", "StatefulSet", "DaemonSet")
        for ref, live in scene.of_kind(kind)
        if ref.namespace == namespace and selectors.equals(selector, template_labels(scene, ref))
    ]


def _written(live: JSON) -> float:
    write = meta.last_write(live)
    return write.at.timestamp() if write else 0.0


def _of_limits(scene: Scene, call: Call, ref: ResourceRef, rule: JSON) -> Iterator[_Problem]:
    """Connection pools and ejection that the proxies cannot serve with; only if they were changed lately."""
    if not lately(scene, rule) or is_ill(scene, call.service):
        return
    overflown, nobody = mesh.overflown(call.lines), mesh.without_upstream(call.lines)
    for policy in mesh.traffic_policies(rule):
        pool = mapping(policy, "connectionPool")
        for path in (
            ("tcp", "maxConnections"), ("http", "http1MaxPendingRequests"), ("http", "http2MaxRequests"),
        ):  # fmt: skip
            most = number(pool, *path)
            if 0 < most <= _FEW and (overflown or mesh.cut(call.lines) or not call.lines):
                says = f"lets through {path[1]}: {most} to {call.service}, and the rest is refused"
                yield _Problem(ref, rule, says, 1.0 if overflown else 0.85 if call.lines else 0.8)
        eject = mapping(policy, "outlierDetection")
        errors = number(eject, "consecutive5xxErrors") or number(eject, "consecutiveGatewayErrors")
        if 0 < errors <= 2 and number(eject, "maxEjectionPercent", default=10) >= 50 and nobody:
            says = (
                f"ejects pods of {call.service} after {errors} errors, up to"
                f" {number(eject, 'maxEjectionPercent')} % of them, until nobody is left"
            )
            yield _Problem(ref, rule, says, 0.9)


def _of_gateways(scene: Scene, call: Call, ref: ResourceRef, route: JSON) -> Iterator[_Problem]:
    """Gateways that are not there, or that do not take the hosts of the route."""
    for place in mesh.gateways(route):
        gateway = scene.ref("IstioGateway", *place)
        live = scene.get(gateway)
        if live is None:
            if is_absent(scene, "gateways.networking.istio.io", *place):
                yield _Problem(ref, route, f"is bound to {gateway}, which does not exist", 0.97, True)
            continue
        taken = [
            host.rpartition("/")[2]
            for server in objects(live, "spec", "servers")
            for host in words(server, "hosts")
        ]
        asked = [host for host in words(route, "spec", "hosts") if host != "*"]
        if taken and asked and not any(_overlap(one, other) for one in taken for other in asked):
            culprit, its = max([(ref, route), (gateway, live)], key=lambda each: _written(each[1]))
            says = f"takes {', '.join(taken[:3])} at {gateway}, and {ref} is for {', '.join(asked[:3])}"
            yield _Problem(culprit, its, says, 0.92, True)


def _overlap(one: str, other: str) -> bool:
    if "*" in (one, other) or one == other:
        return True
    return any(
        wide.startswith("*.") and host.endswith(wide[1:]) for wide, host in ((one, other), (other, one))
    )


def _hypothesis(scene: Scene, book: EvidenceBook, call: Call, problem: _Problem) -> Hypothesis:
    write = lately(scene, problem.live)
    direct = problem.direct * call.sure * (1.0 if write or problem.stands else _OLD)
    cited = cite_write(
        book, problem.ref, f"{problem.ref} {problem.says}; it was written last", meta.last_write(problem.live),
        excerpt=str(problem.live.get("spec")),
    )  # fmt: skip
    whose = "requests from outside" if call.inbound else f"requests of {call.subject.ref}"
    return Hypothesis(
        resource=problem.ref,
        category=Category.MESH_ROUTE,
        summary=f"{problem.ref} {problem.says}: {whose} fail",
        support=support(call.subject, direct, precedes=True if write else None, steps=1),
        evidence=(cited, *call.cite(book)),
        explains=(*EXPLAINS, *problem.besides),
        facts={"service": call.service.name},
    )
