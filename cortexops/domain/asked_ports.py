"""At which port a Service is looked for, which release brought that, and whether anybody listens there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cortexops.domain.findings import Subject, log_lines, means_service, template_spec
from cortexops.domain.kubernetes import complaints, hosts, pods
from cortexops.domain.kubernetes.listening import listening_ports
from cortexops.domain.kubernetes.values import mapping, number, objects, text, texts, words
from cortexops.domain.releases import Release, changed
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_MOST_LINES = 2_000  # of configuration files
_GIVEN = ("/env/", "/args", "/command")
_ASIDE = re.compile(r"(?i)(metric|prometheus|admin|manage|actuator|health|debug|pprof|profil|jmx|internal)")
"""Of a server beside the one that callers want."""
_OPENS = re.compile(
    r"(?i)\b(?:listen(?:ing|s|er)?\b|bound to|(?:serving|running|started|initialized|available)\b.{0,30}"
    r"\b(?:on|at|with)\b.{0,12}(?:port|https?://|0\.0\.0\.0|\[::\]|localhost|127\.0\.0\.1|:\d))"
)
"""A program that opens a port, as against one that names the port of somebody else."""


def configured_ports(scene: Scene, caller: Subject, service: ResourceRef) -> set[int]:
    """The ports at which the caller's variables, arguments and ConfigMaps look for the Service."""
    told: list[str] = []
    for container in pods.containers(template_spec(caller)):
        told += [text(entry, "value") for entry in objects(container, "env")]
        told += [*words(container, "args"), *words(container, "command")]
    for ref in scene.topology.out(caller.ref, Relation.USES_CONFIG):
        told += texts(scene.get(ref) or {}, "data").values()
    lines = [line for value in told for line in value.splitlines()]
    return asked_ports(scene, caller, service, lines[:_MOST_LINES])


def asked_ports(scene: Scene, caller: Subject, service: ResourceRef, lines: Sequence[str]) -> set[int]:
    """The ports at which these lines of the caller look for the Service."""
    return {
        port
        for line in lines
        for host, port in hosts.ports_in_line(line)
        if means_service(scene, host, service, caller.ref.namespace)
    }


def told_by(
    scene: Scene, caller: Subject, service: ResourceRef, ports: set[int]
) -> tuple[ResourceRef, str] | None:
    """The ConfigMap, and the key of it, with which the caller looks for the Service at one of these ports."""
    for ref in scene.topology.out(caller.ref, Relation.USES_CONFIG):
        for key, value in texts(scene.get(ref) or {}, "data").items():
            for line in value.splitlines()[:_MOST_LINES]:
                for host, port in hosts.ports_in_line(line):
                    if port in ports and means_service(scene, host, service, caller.ref.namespace):
                        return ref, key
    return None


def is_probed(subject: Subject, containers: list[JSON], port: int) -> bool:
    """Whether ready pods pass a probe at that port."""
    probes = [mapping(each, kind) for each in containers for kind in ("readinessProbe", "livenessProbe")]
    asked = {
        number(mapping(probe, how), "port") for probe in probes for how in ("httpGet", "tcpSocket", "grpc")
    }
    return port in asked and any(pods.is_ready(pod) for _, pod in subject.pods)


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
    listening = listening_ports(
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


def listens_elsewhere(
    scene: Scene, subject: Subject, port: int, complained: Sequence[str]
) -> tuple[set[int], tuple[ResourceRef, str, list[str]]] | None:
    """The ports that the subject's ready pods said they listen on, the wanted one not among them, while connections
    of callers are refused; with (pod, container, lines) where they said so. None where nothing shows that."""
    if not complaints.refused(complained):
        return None
    heard: set[int] = set()
    where: tuple[ResourceRef, str, list[str]] | None = None
    ready = {ref for ref, pod in subject.pods if pods.is_ready(pod)}
    for ref, container, previous, lines in log_lines(scene, subject):
        if previous or ref not in ready:
            continue
        told = [line for line in lines if listening_ports([line])]
        if port in listening_ports(told):
            return None
        told = [line for line in told if _OPENS.search(line) and not _ASIDE.search(line)]
        heard |= listening_ports(told)
        where = where or ((ref, container, told) if told else None)
    return (heard, where) if where is not None else None
