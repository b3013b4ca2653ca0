"""Certificates that had expired when the trouble began, do not hold yet, are not there, or name other hosts."""

from __future__ import annotations

from datetime import datetime
from shlex import quote

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind, GapReason
from cortexops.domain.findings import (
    Subject,
    alerted_at,
    is_troubled,
    log_lines,
    own_subjects,
    serves_badly,
    subjects,
)
from cortexops.domain.kubernetes import commands, complaints, gateways
from cortexops.domain.kubernetes.certificates import dates
from cortexops.domain.kubernetes.values import objects, text, words
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.READINESS_PROBE, Category.DEPENDENCY_DOWN,
    Category.SECRET_CHANGED, Category.EXTERNAL_DEPENDENCY, Category.BAD_ROLLOUT, Category.LIVENESS_PROBE,
)  # fmt: skip


@analyzer("certificates")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for kind in ("Ingress", "Gateway"):
        for front, live in scene.of_kind(kind):
            if front == scene.target or serves_badly(scene):
                found += _of_front(scene, book, front, live)
    for subject in subjects(scene):
        if is_troubled(scene, subject) or serves_badly(scene):
            found += _used(scene, book, subject)
    return list({(h.resource, h.category): h for h in reversed(found)}.values())


def _served_with(front: ResourceRef, live: JSON) -> list[tuple[str, str, list[str]]]:
    """(namespace, name, hosts) of the Secrets that an Ingress or a Gateway serves with."""
    if front.kind == "Gateway":
        return gateways.certificates(live)
    return [
        (front.namespace, text(entry, "secretName"), words(entry, "hosts"))
        for entry in objects(live, "spec", "tls")
    ]


def _of_front(scene: Scene, book: EvidenceBook, front: ResourceRef, live: JSON) -> list[Hypothesis]:
    at = alerted_at(scene)
    found: list[Hypothesis] = []
    subject = Subject(front, live, ())
    for namespace, name, hosts in _served_with(front, live):
        secret = scene.ref("Secret", namespace, name)
        held = scene.get(secret)
        if held is None:
            if any(
                gap.reason is GapReason.NO_DATA
                and gap.what == f"get secrets/{secret.name} in namespace {secret.namespace}"
                for gap in scene.gaps
            ):
                cited = book.cite(
                    EvidenceKind.TOPOLOGY, secret, f"{secret}, which {front} serves with, does not exist",
                    command=commands.show(secret),
                )  # fmt: skip
                found.append(
                    Hypothesis(
                        resource=secret,
                        category=Category.CONFIG_MISSING,
                        summary=f"{secret}, the TLS certificate of {front}, does not exist",
                        support=support(subject, 0.85, steps=1),
                        evidence=(cited,),
                        facts={"tls": "true"},
                    )
                )
            continue
        for key, since, until, names in dates(held):
            problem = _problem(at, since, until)
            if (
                not problem
                and names
                and hosts
                and not any(_covers(name, host) for name in names for host in hosts)
            ):
                problem = f"names {', '.join(names[:3])}, not {', '.join(hosts[:3])}"
            if problem:
                found.append(
                    _hypothesis(
                        scene, book, subject, secret, key, until, problem, f"{front} serves with it", []
                    )
                )
    return found


def _problem(at: datetime, since: datetime, until: datetime) -> str:
    if until <= at:
        return f"expired at {until:%Y-%m-%d %H:%M} UTC"
    return f"is not valid before {since:%Y-%m-%d %H:%M} UTC" if since > at else ""


def _covers(name: str, host: str) -> bool:
    if name.startswith("*."):
        return host.partition(".")[2] == name[2:]
    return name.lower() == host.lower()


def _used(scene: Scene, book: EvidenceBook, subject: Subject) -> list[Hypothesis]:
    """Certificates in Secrets that the failing program mounts."""
    at = alerted_at(scene)
    found = []
    evidence: list[str] = []
    for pod, container, previous, lines in log_lines(scene, subject):
        said = [
            line
            for line in complaints.about_credentials(lines)
            if "certificate" in line.lower() or "x509" in line.lower()
        ]
        if said:
            evidence.append(cite_log(book, pod, container, previous, said, "complains about a certificate"))
            break
    for secret in scene.topology.out(subject.ref, Relation.USES_SECRET):
        for key, since, until, _ in dates(scene.get(secret) or {}):
            problem = _problem(at, since, until)
            if problem and (evidence or subject in own_subjects(scene)):
                found.append(
                    _hypothesis(
                        scene, book, subject, secret, key, until, problem, f"{subject.ref} uses it", evidence
                    )
                )
    return found


def _hypothesis(
    scene: Scene, book: EvidenceBook, subject: Subject, secret: ResourceRef, key: str, until: datetime,
    problem: str, who: str, evidence: list[str],
) -> Hypothesis:  # fmt: skip
    cited = book.cite(
        EvidenceKind.CONFIG, secret, f"the certificate {key} in {secret} {problem}", at=until,
        command=f"kubectl -n {quote(secret.namespace)} get secret {quote(secret.name)}"
        " -o jsonpath='{.data.tls\\.crt}' | base64 -d | openssl x509 -noout -dates -ext subjectAltName",
    )  # fmt: skip
    return Hypothesis(
        resource=secret,
        category=Category.CERTIFICATE_EXPIRED,
        summary=f"the TLS certificate in {secret} {problem}; {who}",
        support=support(subject, 1.0, precedes=True if until <= scene.onset else None, steps=1),
        evidence=(cited, *evidence),
        explains=_EXPLAINS,
        facts={"key": key, "not_after": until.isoformat()},
    )
