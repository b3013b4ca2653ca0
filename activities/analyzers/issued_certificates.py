"""Certificates that cert-manager issues and could not renew."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, cite_event, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, seen_until
from cortexops.domain.kubernetes import commands, meta
from cortexops.domain.kubernetes.certificates import dates
from cortexops.domain.kubernetes.values import moment, text
from cortexops.domain.scene import Scene


@analyzer("issued_certificates")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    ref, live = scene.target, scene.get(scene.target)
    if ref.kind != "Certificate" or live is None:
        return []
    at = seen_until(scene)
    secret = scene.ref("Secret", ref.namespace, text(live, "spec", "secretName"))
    ends = [until for _, _, until, _ in dates(scene.get(secret) or {})] or [
        until for until in [moment(live, "status", "notAfter")] if until is not None
    ]
    expired = [until for until in ends if until <= at]
    ready, issuing = meta.condition(live, "Ready"), meta.condition(live, "Issuing")
    failed = issuing.reason == "Failed" or ready.status == "False"
    if not expired and not failed:
        return []
    evidence = [cite_condition(book, ref, c) for c in (ready, issuing) if c.status]
    if expired:
        evidence.append(
            book.cite(
                EvidenceKind.CONFIG, secret, f"the certificate in {secret} expired", at=expired[0],
                command=commands.show(ref),
            )
        )  # fmt: skip
    evidence += [cite_event(book, event) for event in scene.events_about(ref, "Failed")[:1]]
    why = issuing.message if issuing.reason == "Failed" else ready.message
    state = f"expired at {expired[0]:%Y-%m-%d %H:%M} UTC" if expired else "is not ready"
    return [
        Hypothesis(
            resource=ref,
            category=Category.CERTIFICATE_EXPIRED,
            summary=f"{ref} (in {secret}) {state} and is not renewed{': ' + why[:240].strip() if why else ''}",
            support=support(Subject(ref, live, ()), 1.0),
            evidence=tuple(evidence),
            facts={"secret": secret.name, "issued": "true"},
        )
    ]
