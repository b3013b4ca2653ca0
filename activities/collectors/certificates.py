"""The certificates that the target, or a peer that it complains of, is served with: dates and names of them,
never the keys."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import certificate_words
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation

_MOST = 3
_ASKED = (SignalType.ERROR_RATE, SignalType.LATENCY, SignalType.OTHER)


@collector("certificates", wave=4)
async def collect(gathering: Gathering) -> None:
    served = any(signal.type in _ASKED for signal in gathering.signals)
    if gathering.target.kind not in ("Ingress", "Service") and not served:
        return
    await _fronts(gathering)
    secrets: dict[ResourceRef, None] = {}
    for ref, ingress in gathering.of_kind("Ingress"):
        for entry in objects(ingress, "spec", "tls"):
            name = text(entry, "secretName")
            if name:
                secret = gathering.ref("Secret", ref.namespace, name)
                gathering.connect(ref, Relation.SERVES_WITH, secret)
                secrets.setdefault(secret)
    await asyncio.gather(
        *(gathering.get("Secret", ref.namespace, ref.name, required=True) for ref in list(secrets)[:_MOST])
    )


async def _fronts(gathering: Gathering) -> None:
    """Ingresses, of any namespace, that serve hosts whose certificates somebody says have expired."""
    asked = {
        host
        for log in gathering.logs
        for named in certificate_words.shown_by(log.lines).values()
        for host in named
        if "." in host and not host.endswith((".svc", ".cluster.local"))
    }
    for ingress in await gathering.listing("Ingress") if asked else ():
        if asked & {text(rule, "host").lower() for rule in objects(ingress, "spec", "rules")}:
            gathering.keep("Ingress", ingress)
