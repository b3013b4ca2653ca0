"""At which port a Service is looked for, which release brought that, and whether anybody listens there."""

from __future__ import annotations

from collections.abc import Sequence

from cortexops.domain.findings import Subject, log_lines, means_service, template_spec
from cortexops.domain.kubernetes import complaints, hosts, pods
from cortexops.domain.kubernetes.values import number, objects, text, texts, words
from cortexops.domain.releases import Release, changed
from cortexops.domain.resource import JSON, ResourceRef
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


def nobody_listens(
    scene: Scene, subject: Subject, ref: ResourceRef, service: JSON, port: int, complained: Sequence[str]
) -> bool:
    """Whether something shows that the subject's pods, behind the Service, do not listen on the target port: they
    said on which of their declared ports they do, or connections to it were refused.

    `complained` are lines about the Service that a caller wrote; of all other logs only those lines count that
    name the Service or one of the pods with that port.
    """
    declared = {
        number(each, "containerPort")
        for container in pods.containers(template_spec(subject))
        for each in objects(container, "ports")
    }
    listening = complaints.listening_ports(
        [line for _, _, previous, lines in log_lines(scene, subject) if not previous for line in lines]
    )
    if port in listening:
        return False
    if listening & declared:
        return True
    addresses = {text(pod, "status", "podIP") for _, pod in subject.pods}
    fronts = {port} | {
        number(each, "port")
        for each in objects(service, "spec", "ports")
        if (text(each, "targetPort") or text(each, "port")) == str(port)
    }
    told = {line: log.pod.namespace for log in scene.logs for line in complaints.refused(log.lines)}
    for line, namespace in told.items():
        asked = {
            at
            for host, at in hosts.ports_in_line(line)
            if host in addresses or means_service(scene, host, ref, namespace)
        }
        if asked & fronts or (line in complained and not asked):
            return True
    return False
