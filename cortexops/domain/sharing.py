"""Who else suffers with a configuration that several workloads read."""

from __future__ import annotations

from cortexops.domain.findings import Subject
from cortexops.domain.kubernetes import hosts, pods
from cortexops.domain.kubernetes.values import texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation


def failing_with_it(scene: Scene, subject: Subject, ref: ResourceRef) -> list[ResourceRef]:
    """Pods of other workloads that read the object, too, and crash."""
    own = {pod for pod, _ in subject.pods}
    readers = scene.topology.into(ref, Relation.USES_CONFIG)
    return [
        pod
        for pod in readers
        if pod.kind == "Pod" and pod not in own and pods.is_unready(scene.get(pod) or {})
    ]


def names_nobody_else(scene: Scene, subject: Subject, obj: JSON, key: str) -> bool:
    """Whether the value names no host that may itself be down: none outside, no Service that exists."""
    for host in hosts.hosts_in_value(key, texts(obj, "data").get(key, "")):
        address = hosts.service_address(host, subject.ref.namespace)
        if address is None or scene.get(scene.ref("Service", *address)) is not None:
            return False
    return bool(key)
