"""Who else suffers with a configuration that several workloads read."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Protocol

from cortexops.domain.diagnosis import Hypothesis
from cortexops.domain.findings import NEARLY_CALLED, Subject, log_lines, service_ready, template_spec
from cortexops.domain.kubernetes import complaints, hosts, pods
from cortexops.domain.kubernetes.mentions import NAMES_ADDRESS
from cortexops.domain.kubernetes.values import number, objects, text, texts, words
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import backing
from cortexops.domain.topology import Relation

_QUOTED = re.compile(r"[\"'`]([\w.-]{2,80})[\"'`]")


def failing_with_it(scene: Scene, subject: Subject, ref: ResourceRef) -> list[ResourceRef]:
    """Pods of other workloads that read the object, too, and crash."""
    own = {pod for pod, _ in subject.pods}
    readers = scene.topology.into(ref, Relation.USES_CONFIG)
    return [
        pod
        for pod in readers
        if pod.kind == "Pod" and pod not in own and pods.is_unready(scene.get(pod) or {})
    ]


def unknown_and_not_given(subject: Subject, lines: Sequence[str]) -> list[str]:
    """Complaints that a store knows no such database or user, unless the pod template itself gives that name in
    plain: then no Secret does."""
    template = template_spec(subject)
    given = {
        value
        for each in pods.containers(template)
        for value in (
            *(text(entry, "value") for entry in objects(each, "env")), *words(each, "args"), *words(each, "command")
        )
        if value
    }  # fmt: skip
    return [
        line
        for line in complaints.unknown_there(lines)
        if not given & set(_QUOTED.findall(line.replace('\\"', '"')))
    ]


def names_nobody_else(scene: Scene, subject: Subject, obj: JSON, key: str) -> bool:
    """Whether the value names no host that may itself be down: none outside, no Service that exists."""
    for host in hosts.hosts_in_value(key, texts(obj, "data").get(key, "")):
        address = hosts.service_address(host, subject.ref.namespace)
        if address is None or scene.get(scene.ref("Service", *address)) is not None:
            return False
    return bool(key)


class Said(Protocol):
    """A complaint: its lines, and how they name what a configuration holds."""

    @property
    def how(self) -> str: ...

    @property
    def lines(self) -> tuple[str, ...]: ...


def leads_to_services(scene: Scene, subject: Subject, complaint: Said, *, changed: bool) -> bool:
    """Whether all addresses complained about are ports that Services offer: then a value that names them is
    right, and the trouble lies behind it. A change of something else than addresses may be wrong all the same."""
    word, as_address = complaint.how.rpartition(" ")[2], complaint.how.startswith(NAMES_ADDRESS)
    named = hosts.service_address(word, subject.ref.namespace)
    if (as_address or not changed) and named and scene.get(scene.ref("Service", *named)) is not None:
        return True
    if changed or as_address:
        return False
    met = False
    for line in complaint.lines:
        ports = dict(hosts.ports_in_line(line))
        for host in hosts.hosts_in_line(line):
            address = hosts.service_address(host, subject.ref.namespace)
            service = scene.get(scene.ref("Service", *address)) if address is not None else None
            offered = {number(each, "port") for each in objects(service or {}, "spec", "ports")}
            if service is None or (host in ports and ports[host] not in offered):
                return False
            met = True
    return met


def without_right_addresses(scene: Scene, found: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Without keys of a configuration whose address a Service offers, where another key of it, blamed too, names a
    port that its Service has not: a write tells when, and not always which of the keys it changed."""
    leads = [_leads(scene, each) for each in found]
    wrong = {each.resource for each, right in zip(found, leads, strict=True) if right is False}
    return [each for each, right in zip(found, leads, strict=True) if not (right and each.resource in wrong)]


def _leads(scene: Scene, hypothesis: Hypothesis) -> bool | None:
    """Whether the value of the key that is blamed names ports that Services offer; None where it names none."""
    key, ref = hypothesis.facts.get("key", ""), hypothesis.resource
    value = texts(scene.get(ref) or {}, "data").get(key, "")
    found: list[bool] = []
    for host, port in hosts.ports_in_line(value) if "\n" not in value else ():
        address = hosts.service_address(host, ref.namespace)
        service = scene.get(scene.ref("Service", *address)) if address is not None else None
        if service is not None:
            found.append(port in {number(each, "port") for each in objects(service, "spec", "ports")})
    return all(found) if found else None


def names_living_service(scene: Scene, subject: Subject, obj: JSON, key: str) -> bool:
    """Whether the value names a Service that exists and has no ready pods: then the value is right."""
    for host in hosts.hosts_in_value(key, texts(obj, "data").get(key, "")):
        address = hosts.service_address(host, subject.ref.namespace)
        if address is not None:
            service = scene.ref("Service", *address)
            if scene.get(service) is not None and service_ready(scene, service) == 0:
                return True
    return False


def misspells_service(scene: Scene, subject: Subject, obj: JSON, key: str, lines: Sequence[str]) -> bool:
    """Whether the value, which the lines name, is a Service that does not exist where one of nearly that name
    does."""
    for host in hosts.hosts_in_value(key, texts(obj, "data").get(key, "")):
        address = hosts.service_address(host, subject.ref.namespace)
        if address is None or not any(host in line.lower() for line in lines):
            continue
        there = [ref.name for ref, _ in scene.of_kind("Service") if ref.namespace == address[0]]
        if address[1] not in there and get_close_matches(address[1], there, n=1, cutoff=NEARLY_CALLED):
            return True
    return False


def refused_by_store(
    scene: Scene, subject: Subject, users: Collection[str]
) -> tuple[ResourceRef, str, bool, str] | None:
    """(pod, container, previous, line) of a store that the subject calls, which says that it refuses the
    credentials of one of the users."""
    for service in scene.topology.out(subject.ref, Relation.CALLS):
        for ref in backing(scene, service):
            store = Subject(ref, scene.get(ref) or {}, tuple(scene.pods_of(ref)))
            for pod, container, previous, lines in log_lines(scene, store):
                for line in reversed(complaints.of_sign_ins(lines)):
                    if complaints.signed_in_as(line) in users:
                        return pod, container, previous, line
    return None
