"""A ConfigMap that sends its reader to a port of a Service which that has not, as the reader complains."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import complaints, hosts, last_words, meta
from cortexops.domain.kubernetes.values import number, objects, text, texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import alerted_at
from cortexops.domain.topology import Relation

_LATELY = timedelta(hours=24)
_LONGEST = 50_000  # characters
_COMMENT = re.compile(r"(?m)^\s*(?:#|//|;).*$")
_CHANGED, _STANDS = 0.93, 0.8
_EXPLAINS = (
    Category.SERVICE_MISROUTED, Category.DEPENDENCY_DOWN, Category.CRASH, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE,
)  # fmt: skip


@analyzer("misdirected")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[ResourceRef, Hypothesis] = {}
    for subject in subjects(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        for ref in scene.topology.out(subject.ref, Relation.USES_CONFIG):
            hypothesis = _of(scene, book, subject, ref, scene.get(ref) or {})
            if hypothesis is not None:
                found.setdefault(ref, hypothesis)
    return list(found.values())


def _of(scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, obj: JSON) -> Hypothesis | None:
    """Only documents of several lines: a value that is an address by itself is compared with what the log says of it
    elsewhere."""
    for key, value in texts(obj, "data").items():
        if "\n" not in value or len(value) > _LONGEST:
            continue
        for host, port in dict.fromkeys(hosts.ports_in_line(_COMMENT.sub("", value))):
            address = hosts.service_address(host, ref.namespace)
            service = scene.ref("Service", *address) if address is not None else None
            offered = _offered(scene.get(service) or {}) if service is not None else []
            if service is None or not offered or port in offered:
                continue
            for pod, container, previous, lines in log_lines(scene, subject):
                said = _asks(complaints.unreachable(lines), scene.get(service) or {}, host, port)
                if said:
                    cited = cite_log(
                        book, pod, container, previous, said, f"tells that {host}:{port} does not answer"
                    )
                    return _hypothesis(
                        scene, book, subject, ref, obj, key, service, port, offered, said, cited
                    )
    return None


def _offered(service: JSON) -> list[int]:
    if text(service, "spec", "type") == "ExternalName" or text(service, "spec", "clusterIP") == "None":
        return []  # its ports decide nothing
    return [number(each, "port") for each in objects(service, "spec", "ports")]


def _asks(lines: list[str], service: JSON, host: str, port: int) -> list[str]:
    """The lines that name the address, by name or as it was resolved, with the port."""
    names = {host, text(service, "spec", "clusterIP")}
    return [
        line for line in lines if any(name in names and to == port for name, to in hosts.ports_in_line(line))
    ]


def _hypothesis(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, obj: JSON, key: str, service: ResourceRef,
    port: int, offered: list[int], said: list[str], cited: str,
) -> Hypothesis:  # fmt: skip
    write, born = meta.writes(obj, "data", key) or meta.last_write(obj), meta.created(obj)
    if write is not None and (born is None or write.at <= born or write.at > alerted_at(scene)):
        write = None
    if write is not None and not scene.clocks_apart and write.at < scene.onset - _LATELY:
        write = None
    known = ", ".join(map(str, offered))
    says = f"key {key} of {ref} names port {port} of {service}, which has only {known}"
    since = f", changed at {write.at:%Y-%m-%d %H:%M:%S} UTC{by_whom(write)}" if write is not None else ""
    return Hypothesis(
        resource=ref,
        category=Category.CONFIGMAP_CHANGED,
        summary=f"{says}{since}; {subject.ref} reads it and fails: “{last_words.telling(said)}”",
        support=support(
            subject,
            _CHANGED if write is not None else _STANDS,
            precedes=True if write is not None else None,
            steps=1,
        ),
        evidence=(cite_write(book, ref, says, write, unknown=EvidenceKind.CONFIG), cited),
        explains=_EXPLAINS,
        facts={
            "configmap": ref.name,
            "key": key,
            **({"changed_at": write.at.isoformat()} if write is not None else {}),
        },
    )
