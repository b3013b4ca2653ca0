"""A realistic incident for the console's tests: a release that needs more memory than its limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cortexops.domain.action import Action
from cortexops.domain.approval import ApprovalRequest, ApprovalState, Decision, Person, Vote
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.change import Change, DiffLine, FieldEdit, Verb
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.evidence import Evidence, EvidenceKind, Gap, GapReason
from cortexops.domain.ids import approval_id
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.message import Message, MessageKind
from cortexops.domain.narrative import message
from cortexops.domain.postmortem import Postmortem, write_postmortem
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity
from cortexops.ports.store import Store

START = datetime(2026, 3, 14, 2, 41, 7, tzinfo=UTC)
DIGEST = "9f2c51d0a7e84b36" * 4
LIMIT = "/spec/template/spec/containers/0/resources/limits/memory"
REQUEST = "/spec/template/spec/containers/0/resources/requests/memory"
ANA_TOKEN, BO_TOKEN, VIEWER_TOKEN = "ana-token-for-tests", "bo-token-for-tests", "viewer-token-for-tests"


def ref(kind: str, name: str) -> ResourceRef:
    return ResourceRef(cluster="prod-eu", kind=kind, namespace="shop", name=name)


NODE = ResourceRef(cluster="prod-eu", kind="Node", name="node-3")
TARGET = ref("Deployment", "payment-service")


def an_incident(**changes: Any) -> Incident:
    base: dict[str, Any] = {
        "id": "",
        "key": f"incident:{TARGET.key}",
        "run_id": "run-1",
        "title": "payment-service is OOM-killed",
        "severity": Severity.CRITICAL,
        "risk_score": 78,
        "resource": TARGET,
        "state": IncidentState.DETECTED,
        "reason": Reason.SIGNALS_GROUPED,
        "detected_at": START,
        "updated_at": START,
        "signal_count": 14,
    }
    return Incident(**{**base, **changes})


def a_diagnosis(*, excerpt: str = "") -> Diagnosis:
    log = excerpt or (
        "02:40:51 INFO  cache warm-up: 412 MiB of price lists loaded\n"
        "02:40:58 WARN  heap 96 % of limit, full collection took 840 ms\n"
        "02:41:02 INFO  connecting to postgres://orders:s3cret-Passw0rd@db.shop/orders"
    )
    pod = ref("Pod", "payment-service-7c9d4-x2x7p")
    evidence = (
        Evidence(
            id="e1",
            kind=EvidenceKind.STATUS,
            resource=pod,
            at=START - timedelta(seconds=5),
            summary="Container api was killed by the kernel: OOMKilled, exit code 137, 4 restarts in 6 minutes",
            command="kubectl -n shop get pod payment-service-7c9d4-x2x7p -o yaml",
        ),
        Evidence(
            id="e2",
            kind=EvidenceKind.LOG,
            resource=pod,
            at=START - timedelta(seconds=5),
            summary="The previous container filled its heap right after the cache warm-up",
            excerpt=log,
            command="kubectl -n shop logs payment-service-7c9d4-x2x7p -c api --previous",
        ),
        Evidence(
            id="e3",
            kind=EvidenceKind.CHANGE,
            resource=TARGET,
            at=START - timedelta(minutes=7),
            summary="Revision 12 replaced image payment:4.1.0 by payment:4.2.0; memory use rose by 100 MiB",
            command="kubectl -n shop rollout history deployment/payment-service --revision=12",
        ),
        Evidence(
            id="e4",
            kind=EvidenceKind.METRIC,
            resource=TARGET,
            at=START,
            summary="Working set 490 MiB of a 512 MiB limit on all three replicas",
        ),
        Evidence(
            id="e5",
            kind=EvidenceKind.STATUS,
            resource=NODE,
            summary="Node node-3 has no memory pressure",
        ),
    )
    lead = Hypothesis(
        resource=TARGET,
        category=Category.OOM_AFTER_RELEASE,
        summary="Release payment:4.2.0 (revision 12) needs about 100 MiB more than before, "
        "and the limit of 512Mi was left as it was",
        support=Support(direct=1, precedes_onset=True),
        evidence=("e1", "e2", "e3", "e4"),
        container="api",
        confidence=0.93,
    )
    other = Hypothesis(
        resource=NODE,
        category=Category.NODE_PRESSURE,
        summary="Node node-3 runs out of memory",
        support=Support(direct=0.3),
        against=("e5",),
        confidence=0.11,
    )
    return Diagnosis(
        target=TARGET,
        verdict=Verdict.ROOT_CAUSE,
        hypotheses=(lead, other),
        evidence=evidence,
        gaps=(Gap(reason=GapReason.NO_DATA, what="metrics of the last 24 h", detail="Prometheus keeps 6 h"),),
        similar=("INC-20260117-002: same service, adjust_resources worked, verified after 84 s",),
        severity=Severity.CRITICAL,
    )


def a_request(incident_id: str, **changes: Any) -> ApprovalRequest:
    base: dict[str, Any] = {
        "id": approval_id(incident_id, 1),
        "incident_id": incident_id,
        "action": f"adjust_resources {TARGET} (container=api, memory_limit=1Gi, memory_request=768Mi)",
        "cause": a_diagnosis().summary,
        "confidence": 0.93,
        "risk": "medium",
        "diff": (
            DiffLine(path=LIMIT, before='"512Mi"', after='"1Gi"'),
            DiffLine(path=REQUEST, before='"384Mi"', after='"768Mi"'),
        ),
        "digest": DIGEST,
        "policy_reasons": ("production changes of resources need a person", "blast radius has 2 dependents"),
        "rule": "quorum_production",
        "quorum": 1,
        "roles": ("oncall", "sre-lead"),
        "blast_radius": "3 replicas, 2 dependents (Service shop/payment, Ingress shop/checkout)",
        "requested_at": START + timedelta(seconds=19),
        "expires_at": START + timedelta(seconds=19, minutes=15),
    }
    return ApprovalRequest(**{**base, **changes})


def entry(chain: str, kind: AuditType, seconds: float, detail: str, **changes: Any) -> AuditEntry:
    base: dict[str, Any] = {
        "chain": chain,
        "type": kind,
        "reason": kind.value,
        "detail": detail,
        "at": START + timedelta(seconds=seconds),
        "idempotency_key": f"{chain}:{kind}:{seconds}",
    }
    return AuditEntry(**{**base, **changes})


def tell(incident: Incident, kind: MessageKind, text: str, seconds: float, **changes: Any) -> Message:
    at = START + timedelta(seconds=seconds)
    return message(incident, kind, text, key=f"{kind}-{seconds}", at=at, **changes)


async def open_case(store: Store, **changes: Any) -> Incident:
    """An incident that waits for approval: detected, diagnosed, dry-run."""
    request_changes = changes.pop("request", {})
    diagnosis = changes.pop("diagnosis", a_diagnosis())
    opened = await store.open_incident(
        an_incident(**changes),
        (),
        entry(
            "platform",
            AuditType.DETECTED,
            0,
            "14 signals since 02:40:12 UTC: KubePodCrashLooping, PodOOMKilled",
        ),
    )
    await store.save_diagnosis(opened.id, diagnosis)
    asked = a_request(opened.id, **request_changes)
    now = opened.model_copy(
        update={
            "state": IncidentState.APPROVAL_PENDING,
            "reason": Reason.APPROVAL_REQUESTED,
            "updated_at": START + timedelta(seconds=19),
            "summary": diagnosis.summary,
            "confidence": 0.93,
        }
    )
    chain = opened.id
    await store.update_incident(
        now,
        [
            entry(
                chain, AuditType.STATE_CHANGED, 1, "investigation started", data={"after": "INVESTIGATING"}
            ),
            entry(chain, AuditType.ANALYZED, 12, diagnosis.summary, data={"after": "POLICY_CHECK"}),
            entry(chain, AuditType.POLICY_DECIDED, 13, "require_approval: production changes need a person"),
            entry(chain, AuditType.DRY_RUN, 15, "the API server accepts the change; 2 fields differ"),
        ],
    )
    await store.request_approval(
        asked,
        entry(
            chain, AuditType.APPROVAL_REQUESTED, 19, f"{asked.id}: {asked.action}; quorum 1",
            data={"after": "APPROVAL_PENDING"},
        ),
        tell(now, MessageKind.APPROVAL, "asking", 19, approval=asked),
    )  # fmt: skip
    return now


def a_ledger_row(incident_id: str) -> LedgerRow:
    edits = (
        FieldEdit(path=LIMIT, before="512Mi", after="1Gi"),
        FieldEdit(path=REQUEST, before="384Mi", after="768Mi"),
    )
    return LedgerRow(
        operation_id=f"{incident_id}.1.1.4f1c0a9be2d7",
        incident_id=incident_id,
        attempt=1,
        step=1,
        plan_hash="4f1c0a9be2d7",
        action=Action(type="adjust_resources", target=TARGET, params={"memory_limit": "1Gi"}),
        change=Change(verb=Verb.PATCH, target=TARGET, uid="u1", generation=12, edits=edits),
        snapshot={},
        state=LedgerState.INTENT,
        created_at=START + timedelta(seconds=96),
        updated_at=START + timedelta(seconds=96),
    )


async def end_case(store: Store, incident: Incident) -> tuple[Incident, Postmortem]:
    """Carry the case to its good end, postmortem included."""
    chain = incident.id
    asked = a_request(chain)
    ana = Person(id="ana", name="Ana", roles=("oncall",), via="token")
    vote = Vote(
        approval_id=asked.id, person=ana, decision=Decision.APPROVE, digest=DIGEST, reason="matches e4"
    )
    await store.record_vote(
        vote, entry(chain, AuditType.APPROVAL_VOTE, 94, "approve: matches e4", actor="ana")
    )
    await store.settle_approval(
        asked.id,
        ApprovalState.APPROVED,
        entry(chain, AuditType.APPROVAL_DECIDED, 95, "approved by Ana"),
        tell(incident, MessageKind.APPROVAL_DECIDED, "approved by Ana", 95, approval=asked),
    )
    row = a_ledger_row(chain)
    await store.intend(row, entry(chain, AuditType.INTENT, 96, "about to patch"))
    applied = entry(chain, AuditType.ACTION_EXECUTED, 97, "limits.memory 512Mi → 1Gi")
    await store.settle(row.operation_id, LedgerState.APPLIED, "applied", applied)
    verified = entry(chain, AuditType.VERIFIED, 180, "3/3 replicas ready, no restart for 30 s")
    await store.settle(row.operation_id, LedgerState.VERIFIED, "3/3 replicas ready", verified)
    ended_at = START + timedelta(seconds=210)
    ended = incident.model_copy(
        update={
            "state": IncidentState.RESOLVED,
            "reason": Reason.VERIFIED,
            "updated_at": ended_at,
            "ended_at": ended_at,
            "attempts": 1,
        }
    )
    last = entry(chain, AuditType.RESOLVED, 210, "verified", data={"after": "RESOLVED"})
    await store.update_incident(ended, [last])
    postmortem = write_postmortem(ended, await store.diagnosis(chain), await store.events(chain))
    await store.save_postmortem(postmortem, entry(chain, AuditType.POSTMORTEM, 211, "open for review"))
    return ended, postmortem
