"""What a controller of Ingresses says, where one of the target's has settings that may spoil requests."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import edge, meta, pods
from cortexops.domain.signal import SignalType

_ASKED = (SignalType.ERROR_RATE, SignalType.LATENCY, SignalType.OTHER)
_MOST = 2  # pods of the controller


@collector("edges", wave=3)
async def collect(gathering: Gathering) -> None:
    if not any(signal.type in _ASKED for signal in gathering.signals):
        return
    if not any(edge.settings(live) for _, live in gathering.of_kind("Ingress")):
        return
    labels = ",".join(f"{key}={value}" for key, value in edge.CONTROLLER.items())
    ready = [pod for pod in await gathering.listing("Pod", labels=labels) if pods.is_ready(pod)]
    for pod in ready[:_MOST]:
        ref = meta.ref_of(gathering.target.cluster, "Pod", pod)
        gathering.keep("Pod", pod)
        for state in pods.container_states(pod)[:1]:
            await gathering.log(ref, state.name, previous=False)
