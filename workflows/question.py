"""The question that policy is asked about one remedy of an incident."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from cortexops.domain.action import Candidate, ProposerKind
    from cortexops.domain.diagnosis import Diagnosis
    from cortexops.domain.incident import Incident
    from cortexops.domain.policy import PolicyInput
    from cortexops.domain.proposing import proposer_of


def policy_question(
    incident: Incident, environment: str, candidate: Candidate, diagnosis: Diagnosis, attempt: int
) -> PolicyInput:
    """What the workflow knows; what only the books know is added where policy is asked."""
    cause = diagnosis.cause
    proposer = proposer_of(candidate, diagnosis)
    return PolicyInput(
        now=workflow.now(),
        incident_id=incident.id,
        severity=incident.severity,
        risk_score=incident.risk_score,
        attempt=attempt,
        drill=incident.drill,
        cluster=incident.resource.cluster,
        namespace=candidate.action.target.namespace,
        environment=environment,
        action=candidate.action,
        risk=candidate.risk,
        reversible=candidate.reversible,
        category=cause.category if cause else "unknown",
        confidence=diagnosis.sure,
        verdict=diagnosis.verdict,
        blast_radius=candidate.blast_radius,
        diff=candidate.planned,
        commands=candidate.commands,
        proposed_by=proposer,
        proposed_by_person=proposer.name if proposer.kind is ProposerKind.PERSON else None,
    )
