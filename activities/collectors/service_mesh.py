"""Rules and policies of Istio on the Services that the target offers or calls, and on the pods behind them."""

from __future__ import annotations

import asyncio
from difflib import get_close_matches

from activities.collectors import collector
from activities.collectors._near import namespaces, own_workloads, workloads
from activities.gathering import Gathering
from activities.workload_reading import template_labels
from cortexops.domain.findings import NEARLY_CALLED
from cortexops.domain.kubernetes import complaints, mesh, meta, selectors
from cortexops.domain.kubernetes.values import text, texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation

_ASKED = (SignalType.ERROR_RATE, SignalType.LATENCY, SignalType.OTHER)
_ROUTING = ("VirtualService", "DestinationRule")
_POLICIES = ("PeerAuthentication", "AuthorizationPolicy")
_MOST = 4  # Gateways, and Services that routes lead to, that are read one by one


@collector("service_mesh", wave=4)
async def collect(gathering: Gathering) -> None:
    near = workloads(gathering)
    if not near or not _matters(gathering):
        return
    places = namespaces(gathering)
    services = _services(gathering, list(near))
    wanted = [(kind, place) for kind in _ROUTING for place in places]
    wanted += [(kind, place) for kind in _POLICIES for place in dict.fromkeys([*places, mesh.ROOT])]
    wanted += [("Sidecar", place) for place in places[:1]]
    lists = await asyncio.gather(*(gathering.listing(kind, place, optional=True) for kind, place in wanted))
    for (kind, place), items in zip(wanted, lists, strict=True):
        for item in items:
            if kind in _ROUTING:  # VirtualServices come first in `wanted`
                more = _led_to(gathering) if kind == "DestinationRule" else []
                _keep_routing(gathering, kind, item, [*services, *more])
            elif kind in _POLICIES:
                hit = [ref for ref, labels in near.items() if mesh.applies(item, ref.namespace, labels)]
                _connect(gathering, kind, item, hit)
            else:
                chosen = texts(item, "spec", "workloadSelector", "labels")
                own = [ref for ref in own_workloads(gathering) if ref.namespace == place]
                hit = [ref for ref in own if not chosen or selectors.equals(chosen, near[ref])]
                _connect(gathering, kind, item, hit)
    await _follow(gathering, services)


def _matters(gathering: Gathering) -> bool:
    """Whether somebody answers badly, or complains of a peer."""
    if any(signal.type in _ASKED for signal in gathering.signals):
        return True
    said = (complaints.unreachable, complaints.answered_badly, mesh.refused)
    return any(each(log.lines) for log in gathering.logs for each in said)


def _services(gathering: Gathering, near: list[ResourceRef]) -> list[ResourceRef]:
    """The Services in front of the target's workloads, and those that they and others near call."""
    found = [gathering.target] if gathering.target.kind == "Service" else []
    for workload in near:
        found += gathering.selecting(workload)
        found += gathering.connected(workload, Relation.CALLS, Relation.MAY_CALL)
    return list(dict.fromkeys(found))


def _connect(gathering: Gathering, kind: str, item: JSON, hit: list[ResourceRef]) -> None:
    if not hit:
        return
    gathering.keep(kind, item)
    for ref in hit:
        gathering.connect(meta.ref_of(gathering.target.cluster, kind, item), Relation.ACTS_ON, ref)


def _meant(route: JSON, place: tuple[str, str]) -> bool:
    """Whether a route from outside sends to a name that is nearly the Service's: perhaps it was meant."""
    sent = [
        d.name
        for rule in mesh.rules(route)
        for d in mesh.destinations(route, rule)
        if d.namespace == place[0]
    ]
    return bool(mesh.gateways(route) and get_close_matches(place[1], sent, n=1, cutoff=NEARLY_CALLED))


def _keep_routing(gathering: Gathering, kind: str, item: JSON, services: list[ResourceRef]) -> None:
    own = meta.namespace(item)
    hit = []
    for ref in dict.fromkeys(services):
        place = (ref.namespace, ref.name)
        if kind == "DestinationRule":
            fits = mesh.means(text(item, "spec", "host"), own, place)
        else:
            fits = mesh.is_for(item, place) or _meant(item, place)
        if fits:
            hit.append(ref)
    _connect(gathering, kind, item, hit)


def _led_to(gathering: Gathering) -> list[ResourceRef]:
    """The Services that the VirtualServices kept so far send to."""
    return [
        gathering.ref("Service", place.namespace, place.name)
        for _, route in gathering.of_kind("VirtualService")
        for rule in mesh.rules(route)
        for place in mesh.destinations(route, rule)
    ]


async def _follow(gathering: Gathering, services: list[ResourceRef]) -> None:
    """Where routes lead: Services, the workloads that subsets may mean, and the Gateways that routes hang on."""
    routes = gathering.of_kind("VirtualService")
    sent = [d for _, route in routes for rule in mesh.rules(route) for d in mesh.destinations(route, rule)]
    unknown = {(ref.namespace, ref.name): None for ref in _led_to(gathering)}
    for ref in services:
        unknown.pop((ref.namespace, ref.name), None)
    bound = {place: None for _, route in routes for place in mesh.gateways(route)}
    await asyncio.gather(
        *(gathering.get("Service", *place, required=True) for place in list(unknown)[:_MOST]),
        *(gathering.get("IstioGateway", *place, required=True) for place in list(bound)[:_MOST]),
    )
    places = dict.fromkeys(d.namespace for d in sent if d.subset or (d.namespace, d.name) in unknown)
    for place in places:
        for kind in ("Deployment", "StatefulSet"):
            for item in await gathering.listing(kind, place):
                ref = meta.ref_of(gathering.target.cluster, kind, item)
                labels = template_labels(ref, item)
                behind = [
                    texts(s, "spec", "selector")
                    for r, s in gathering.of_kind("Service")
                    if r.namespace == place
                ]
                if any(selectors.equals(selector, labels) for selector in behind):
                    gathering.keep(kind, item)
