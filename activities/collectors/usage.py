"""What the target's containers use just now, from metrics.k8s.io, where the cluster serves it."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta, selectors
from cortexops.domain.kubernetes.values import amount, mapping, moment, objects, text
from cortexops.domain.resource import KINDS
from cortexops.domain.scene import Measure
from cortexops.domain.signal import SignalType

_KIND = "PodMetrics"
_ASKED = (SignalType.OOM_KILL, SignalType.MEMORY_HIGH, SignalType.CPU_HIGH)


@collector("usage", wave=2)
async def collect(gathering: Gathering) -> None:
    """Asked only where an alert speaks of memory or CPU: it is one request more."""
    if _KIND not in KINDS or not any(signal.type in _ASKED for signal in gathering.signals):
        return
    for root in [root for root in gathering.roots if root.namespace][:1]:
        query = selectors.query(mapping(gathering.find(root) or {}, "spec", "selector"))
        if not query:
            continue
        for item in await gathering.listing(_KIND, root.namespace, labels=query):
            pod = gathering.ref("Pod", root.namespace, meta.name(item))
            for container in objects(item, "containers"):
                for what, unit in (("memory", "memory_bytes"), ("cpu", "cpu_cores")):
                    used = amount(container, "usage", what)
                    if used is None:
                        continue
                    name = text(container, "name")
                    shown = text(container, "usage", what)
                    gathering.measure(
                        Measure(
                            about=pod,
                            container=name,
                            what=unit,
                            value=float(used),
                            at=moment(item, "timestamp"),
                            says=f"container {name} of {pod} uses {shown} of {what}",
                        )
                    )
