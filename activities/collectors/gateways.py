"""Routes of the Gateway API that lead to the target's Services, their Gateways, and what those serve with."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from activities.resolve import attached_routes
from cortexops.domain.kubernetes import gateways, meta
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation

_ASKED = (SignalType.ERROR_RATE, SignalType.LATENCY, SignalType.OTHER)
_MOST = 3


@collector("gateways", wave=3)
async def collect(gathering: Gathering) -> None:
    served = any(signal.type in _ASKED for signal in gathering.signals)
    if gathering.target.kind not in ("Service", "Ingress", *gateways.KINDS) and not served:
        return
    namespace = gathering.target.namespace
    if not namespace:
        return
    at_gateway = gathering.target.kind == "Gateway"
    near = {ref.name for ref, _ in gathering.of_kind("Service") if ref.namespace == namespace}
    wanted: dict[tuple[str, str], None] = {}
    if at_gateway:
        routes = await attached_routes(gathering, gathering.target)
    else:
        routes = await gathering.listing("HTTPRoute", namespace, optional=True)
    for route in routes:
        ref = meta.ref_of(gathering.target.cluster, "HTTPRoute", route)
        leads = [b.name for b in gateways.backends(route) if b.namespace == namespace]
        asked = ref == gathering.target or at_gateway
        if not asked and not near.intersection(leads) and gathering.target.name not in leads:
            continue
        gathering.keep("HTTPRoute", route)
        for backend in gateways.backends(route):
            service = gathering.ref("Service", backend.namespace, backend.name)
            gathering.connect(ref, Relation.ROUTES_TO, service)
            if gathering.find(service) is None:
                await gathering.get("Service", backend.namespace, backend.name, required=True)
        wanted |= dict.fromkeys(gateways.parents(route))
    found = await asyncio.gather(*(gathering.get("Gateway", *place) for place in list(wanted)[:_MOST]))
    secrets = {
        (space, name): None
        for live in found
        if live is not None
        for space, name, _ in gateways.certificates(live)
    }
    await asyncio.gather(
        *(gathering.get("Secret", space, name, required=True) for space, name in list(secrets)[:_MOST])
    )
