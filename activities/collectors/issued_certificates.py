"""The Secret of a Certificate that cert-manager issues, when the alert is about the Certificate."""

from __future__ import annotations

from activities.collectors import collector
from activities.collectors.events import about
from activities.gathering import Gathering
from cortexops.domain.kubernetes.values import text


@collector("issued_certificates")
async def collect(gathering: Gathering) -> None:
    live = gathering.find(gathering.target)
    name = text(live or {}, "spec", "secretName")
    if gathering.target.kind == "Certificate" and name:
        await gathering.get("Secret", gathering.target.namespace, name, required=True)
        await about(gathering, [gathering.target], gathering.target.namespace)
