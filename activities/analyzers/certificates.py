"""Certificates that had expired when the trouble began, do not hold yet, are not there, or name other hosts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from shlex import quote

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, support
from cortexops.domain.complained_of import complained_of
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind, GapReason
from cortexops.domain.findings import (
    Subject,
    alerted_at,
    backing,
    is_troubled,
    log_lines,
    means_service,
    own_subjects,
    serves_badly,
    subjects,
)
from cortexops.domain.kubernetes import certificate_words, commands, complaints, gateways
from cortexops.domain.kubernetes.certificates import dates
from cortexops.domain.kubernetes.values import objects, text, words
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation
from cortexops.domain.troubles import subject_of

_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.READINESS_PROBE, Category.DEPENDENCY_DOWN,
    Category.SECRET_CHANGED, Category.EXTERNAL_DEPENDENCY, Category.BAD_ROLLOUT, Category.LIVENESS_PROBE,
)  # fmt: skip

_UNNAMED = 0.7  # of the blame, where nobody says whose certificate it is


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
    found += _shown(scene, book)
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
        ] or certificate_words.alerts(lines)
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


def _shown(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """Certificates that callees show, by the words of those who call them, and the Secrets that hold them."""
    found = []
    callers = {subject.ref: subject for subject in subjects(scene)}
    callers |= {
        each.callee.ref: each.callee for each in complained_of(scene) if each.callee.ref not in callers
    }
    for caller in callers.values():
        for pod, container, previous, told in log_lines(scene, caller):
            said = certificate_words.shown_by(told)
            for service in scene.topology.out(caller.ref, Relation.CALLS) if said else ():
                lines = [line for line, asked in said.items() if _is_meant(scene, caller, service, asked)]
                named = any(said[line] for line in lines)
                for ref in backing(scene, service) if lines else ():
                    callee = subject_of(scene, ref, caller.distance + 2, caller.weight)
                    cited = cite_log(
                        book,
                        pod,
                        container,
                        previous,
                        lines,
                        f"does not accept the certificate of {service.name}",
                    )
                    found += _of_callee(scene, book, callee, service, [cited], named=named)
    return found


def _is_meant(scene: Scene, caller: Subject, service: ResourceRef, asked: Sequence[str]) -> bool:
    """Whether a complaint is about the Service: it says so, or names nobody."""
    return not asked or any(means_service(scene, host, service, caller.ref.namespace) for host in asked)


def _of_callee(
    scene: Scene,
    book: EvidenceBook,
    callee: Subject,
    service: ResourceRef,
    evidence: list[str],
    *,
    named: bool,
) -> list[Hypothesis]:
    at = alerted_at(scene)
    refused = False
    for pod, container, previous, told in log_lines(scene, callee):
        lines = certificate_words.refused_by_peer(told)
        if lines:
            refused = True
            evidence = [
                *evidence,
                cite_log(book, pod, container, previous, lines, "is told so by its clients"),
            ]
            break
    found: list[tuple[bool, datetime, Hypothesis]] = []
    unread = False
    for secret in scene.topology.out(callee.ref, Relation.USES_SECRET):
        held = scene.get(secret)
        unread = unread or held is None
        for key, since, until, names in dates(held or {}):
            problem = _problem(at, since, until)
            if problem:
                who = f"{callee.ref} shows it to those who call it"
                its = _hypothesis(scene, book, callee, secret, key, until, problem, who, evidence)
                own = any(means_service(scene, name, service, callee.ref.namespace) for name in names)
                found.append((own, until, its))
    if found:  # the one that bears the name of the Service, else the one that ran out last
        own, _, its = max(found, key=lambda each: each[:2])
        if named or refused or own:
            return [its]
        less = its.support.model_copy(update={"direct": round(_UNNAMED * its.support.direct, 3)})
        return [its.model_copy(update={"support": less})]
    if not (named or refused):
        return []
    # somebody shows an expired certificate; where it is kept cannot be seen
    kept = (
        "what holds it may not be read" if unread else "none of the Secrets that it uses holds an expired one"
    )
    return [
        Hypothesis(
            resource=callee.ref,
            category=Category.DEPENDENCY_DOWN,
            summary=f"the certificate that {callee.ref} shows to those who call it has expired, by their words; {kept}",
            support=support(callee, 0.85),
            evidence=tuple(evidence),
            explains=tuple(each for each in _EXPLAINS if each is not Category.DEPENDENCY_DOWN),
            facts={"tls": "true"},
        )
    ]


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
