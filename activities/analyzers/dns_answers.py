"""The cluster's DNS server says that a Service does not exist which does."""

from __future__ import annotations

from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import DNS, Subject, log_lines, subjects, template_spec
from cortexops.domain.kubernetes import complaints, hosts, meta
from cortexops.domain.kubernetes.values import dig, text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import alerted_at, backing
from cortexops.domain.topology import Relation

_LATELY = timedelta(hours=24)
_EXPLAINS = (
    Category.DEPENDENCY_DOWN, Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.BAD_ROLLOUT, Category.SERVICE_MISROUTED, Category.DNS_FAILURE,
)  # fmt: skip


@analyzer("dns_answers")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found = []
    for subject in subjects(scene):
        spec = template_spec(subject)
        if text(spec, "dnsPolicy") not in ("", "ClusterFirst") or dig(spec, "hostNetwork") is True:
            continue  # it does not ask the cluster's server
        for pod, container, previous, lines in log_lines(scene, subject):
            denied = [line for line in complaints.no_such_name(lines) if _exists(scene, subject, line)]
            if denied:
                cited = cite_log(
                    book, pod, container, previous, denied, "is told that a Service is not there"
                )
                found += _of_server(scene, book, subject, cited)
                break
    return found


def _exists(scene: Scene, subject: Subject, line: str) -> bool:
    """Whether the line names a Service that has an address of its own since before the alert."""
    for host in hosts.hosts_in_line(line):
        address = hosts.service_address(host, subject.ref.namespace)
        service = scene.get(scene.ref("Service", *address)) if address is not None else None
        if service is None or text(service, "spec", "clusterIP") in ("", "None"):
            continue  # one without an address has a name only while it has ready pods
        made = meta.created(service)
        if made is None or made < scene.onset:
            return True
    return False


def _of_server(scene: Scene, book: EvidenceBook, subject: Subject, cited: str) -> list[Hypothesis]:
    service = scene.ref("Service", *DNS)
    for server in backing(scene, service):
        for ref in scene.topology.out(server, Relation.USES_CONFIG):
            write = _written_lately(scene, ref)
            if write is not None:
                says = f"{ref}, which {server} reads, was changed"
                keys = list((scene.get(ref) or {}).get("data") or {})
                return [
                    Hypothesis(
                        resource=ref,
                        category=Category.CONFIGMAP_CHANGED,
                        summary=f"the cluster's DNS answers that Services which exist do not, since {ref} was"
                        f" changed{by_whom(write)} at {write.at:%Y-%m-%d %H:%M:%S} UTC",
                        support=support(subject, 0.9, precedes=True, steps=1),
                        evidence=(cite_write(book, ref, says, write), cited),
                        explains=_EXPLAINS,
                        facts={
                            "configmap": ref.name,
                            "changed_at": write.at.isoformat(),
                            **({"key": keys[0]} if len(keys) == 1 else {}),
                        },
                    )
                ]
        return [
            Hypothesis(
                resource=server,
                category=Category.DNS_FAILURE,
                summary=f"{server} answers that Services which exist do not",
                support=support(subject, 0.6, steps=2),
                evidence=(cited,),
                explains=(Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED),
            )
        ]
    return []


def _written_lately(scene: Scene, ref: ResourceRef) -> meta.Write | None:
    obj: JSON = scene.get(ref) or {}
    write, born = meta.writes(obj, "data"), meta.created(obj)
    if write is None or born is None or write.at <= born or write.at > alerted_at(scene):
        return None
    return write if write.at >= scene.onset - _LATELY else None
