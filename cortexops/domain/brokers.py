"""Brokers of messages whose queues grow, and their clients that do not run: perhaps those that should take them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cortexops.domain.calls import ill_lately
from cortexops.domain.kubernetes import pods
from cortexops.domain.kubernetes.values import mapping, number, objects, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import signal_types
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Relation

_BROKER = re.compile(
    r"(?i)(rabbit|lavinmq|kafka|redpanda|nats|activemq|artemis|pulsar|rocketmq|emqx|mosquitto)"
)
_PORTS = frozenset({4222, 5671, 5672, 6650, 9092, 9876, 61616})
_PARTS = ("port", "targetPort")
CLIENTS = ("Deployment", "StatefulSet")
"""What may take messages and is short of pods."""


def is_broker(service: JSON, workload: JSON) -> bool:
    """Whether what a Service leads to passes messages on, as its ports or images tell."""
    if any(number(port, part) in _PORTS for port in objects(service, "spec", "ports") for part in _PARTS):
        return True
    template = mapping(workload, "spec", "template", "spec")
    return any(_BROKER.search(text(each, "image")) for each in pods.containers(template))


def is_short(workload: JSON) -> bool:
    """Whether it has fewer ready pods than it is to have."""
    return pods.ready_replicas(workload) < pods.wanted_replicas(workload)


def failing_clients(scene: Scene, roots: Sequence[ResourceRef]) -> list[ResourceRef]:
    """Workloads that call a broker, the alert's object, and are short of pods since lately, where the alert speaks of
    work that waits: a queue grows while nobody takes from it."""
    if SignalType.LATENCY not in signal_types(scene):
        return []
    found: dict[ResourceRef, None] = {}
    for root in roots:
        for service in scene.topology.into(root, Relation.SELECTS):
            if service.kind != "Service" or not is_broker(scene.get(service) or {}, scene.get(root) or {}):
                continue
            for ref in scene.topology.into(service, Relation.CALLS):
                if ref.kind in CLIENTS and ref not in roots and ill_lately(scene, ref):
                    found.setdefault(ref)
    return list(found)
