"""At which port a workload's own configuration looks for a Service, and which release brought that."""

from __future__ import annotations

from cortexops.domain.findings import Subject, means_service, template_spec
from cortexops.domain.kubernetes import hosts, pods
from cortexops.domain.kubernetes.values import objects, text, texts, words
from cortexops.domain.releases import Release, changed
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_MOST_LINES = 2_000  # of configuration files
_GIVEN = ("/env/", "/args", "/command")


def configured_ports(scene: Scene, caller: Subject, service: ResourceRef) -> set[int]:
    """The ports at which the caller's variables, arguments and ConfigMaps look for the Service."""
    told: list[str] = []
    for container in pods.containers(template_spec(caller)):
        told += [text(entry, "value") for entry in objects(container, "env")]
        told += [*words(container, "args"), *words(container, "command")]
    for ref in scene.topology.out(caller.ref, Relation.USES_CONFIG):
        told += texts(scene.get(ref) or {}, "data").values()
    return {
        port
        for line in [line for value in told for line in value.splitlines()][:_MOST_LINES]
        for host, port in hosts.ports_in_line(line)
        if means_service(scene, host, service, caller.ref.namespace)
    }


def brought_by(release: Release, ports: set[int]) -> str:
    """What of a release names one of the ports that was not named there before; "" when nothing does."""
    found = [
        f"{line.path} {line.before or '(absent)'} → {line.after}"
        for line in changed(release, *_GIVEN)
        if any(str(port) in line.after and str(port) not in line.before for port in ports)
    ]
    return "; ".join(found[:2])
