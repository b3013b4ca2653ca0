"""The incident in words: messages for people and the Markdown that the Temporal UI shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cortexops.domain import past_words
from cortexops.domain.action import BlastRadius, Candidate, ProposerKind
from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote
from cortexops.domain.change import DiffLine, Preview
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.ids import approval_id
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.links import LinkReason
from cortexops.domain.manual_steps import ManualStep
from cortexops.domain.message import Message, MessageKind
from cortexops.domain.policy import PolicyDecision
from cortexops.domain.proposing import proposer_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.steering import report_caveats
from cortexops.domain.words import counted

_MOST_STEPS, _MOST_COMMANDS = 2, 6


def diff_text(lines: Sequence[DiffLine], most: int = 20) -> str:
    """The diff as people read it: one leaf a line, `-` for what goes and `+` for what comes."""
    shown: list[str] = []
    for line in lines[:most]:
        shown.append(line.path)
        if line.before:
            shown.append(f"  - {line.before}")
        if line.after:
            shown.append(f"  + {line.after}")
    if len(lines) > most:
        shown.append(f"… and {len(lines) - most} more")
    return "\n".join(shown)


def blast_text(radius: BlastRadius) -> str:
    """`3 replicas, 2 dependents (Service shop/api, …)`."""
    parts = [counted(radius.replicas, "replica")]
    if radius.namespaces > 1:
        parts.append(f"{radius.namespaces} namespaces")
    if radius.dependents:
        some = ", ".join(str(ref) for ref in radius.dependents[:3])
        parts.append(
            f"{len(radius.dependents)} dependents ({some}{', …' if len(radius.dependents) > 3 else ''})"
        )
    if radius.disruptions_allowed is not None:
        parts.append(f"disruption budget allows {radius.disruptions_allowed}")
    if radius.stateful:
        parts.append("stateful")
    parts.append(traffic_text(radius.traffic))
    return ", ".join(parts)


def traffic_text(traffic: float | None) -> str:
    """`120 requests/s`; what nobody measured is unknown, never none."""
    if traffic is None:
        return "traffic unknown"
    return f"{traffic:,.0f} requests/s" if traffic >= 100 else f"{traffic:.3g} requests/s"


def message(
    incident: Incident,
    kind: MessageKind,
    text: str,
    *,
    key: str,
    at: datetime,
    fields: dict[str, str] | None = None,
    approval: ApprovalRequest | None = None,
) -> Message:
    """A message about the incident as it is now."""
    return Message(
        key=f"{incident.id}/{key}",
        kind=kind,
        incident_id=incident.id,
        title=incident.title,
        severity=incident.severity,
        state=incident.state,
        reason=incident.reason,
        text=text,
        fields=fields or {},
        approval=approval,
        at=at,
        drill=incident.drill,
    )


def diagnosed_text(diagnosis: Diagnosis, candidates: Sequence[Candidate]) -> str:
    """Cause, worded by how sure it is, the evidence that shows it, what can be done, what is missing."""
    lines = [diagnosis.summary]
    cause = diagnosis.cause
    if cause is not None:
        facts = {fact.id: fact for fact in diagnosis.evidence}
        lines += [f"• {facts[e].summary} [{e}]" for e in cause.evidence[:5] if e in facts]
    best = next((c for c in candidates if c.feasible), None)
    if best is not None:
        lines.append(f"Remedy: {best.action}: {best.why}")
    if diagnosis.model is not None and diagnosis.model.summary is not None:
        said = diagnosis.model.summary
        lines.append(f"In a model's words: {said.text} [{' '.join(said.cites)}]")
    lines += [f"Missing: {gap.what} ({gap.reason})" for gap in diagnosis.gaps[:3]]
    lines += [f"Caveat: {caveat}" for caveat in report_caveats(diagnosis.attempts)[:3]]
    lines += past_words.told(diagnosis)
    return "\n".join(lines)


def with_steps(detail: str, steps: Sequence[ManualStep]) -> str:
    """The detail, and below it what a person can do now: the first two ways with their commands."""
    lines = [detail]
    for step in steps[:_MOST_STEPS]:
        lines.append(f"By hand: {step.type} {step.target} (risk {step.risk})")
        lines += [f"  {command}" for command in step.commands[:_MOST_COMMANDS]]
        lines += [f"  Note: {caveat}" for caveat in step.caveats[:_MOST_COMMANDS]]
    return "\n".join(lines)


def approval_request(
    incident: Incident,
    *,
    diagnosis: Diagnosis,
    candidate: Candidate,
    preview: Preview,
    digest: str,
    decision: PolicyDecision,
    attempt: int,
    now: datetime,
    expires_at: datetime,
) -> ApprovalRequest:
    """What people are asked: the exact change, why, who is touched, and until when."""
    cause = diagnosis.cause
    by = proposer_of(candidate, diagnosis)
    return ApprovalRequest(
        id=approval_id(incident.id, attempt),
        incident_id=incident.id,
        action=str(candidate.action),
        cause=diagnosis.summary,
        confidence=cause.confidence if cause else 0.0,
        risk=candidate.risk,
        diff=preview.diff,
        digest=digest,
        policy_reasons=decision.reasons,
        rule=decision.rule,
        quorum=decision.quorum,
        roles=decision.roles,
        blast_radius=blast_text(candidate.blast_radius),
        requested_at=now,
        expires_at=expires_at,
        proposed_by=by.name if by.kind is ProposerKind.PERSON else None,
        evidence=_cited(diagnosis),
    )


def _cited(diagnosis: Diagnosis, most: int = 5) -> tuple[str, ...]:
    """`summary [e1]` of the facts that show the leading cause."""
    facts = {fact.id: fact for fact in diagnosis.evidence}
    cited = diagnosis.cause.evidence if diagnosis.cause is not None else ()
    return tuple(f"{facts[e].summary} [{e}]" for e in cited if e in facts)[:most]


def approval_text(request: ApprovalRequest, state: ApprovalState, votes: Sequence[Vote]) -> str:
    """All that somebody has to know before they answer, for a terminal."""
    roles = f" with role {' or '.join(request.roles)}" if request.roles else ""
    lines = [
        f"{request.id}: {state}",
        request.cause,
        *(f"• {fact}" for fact in request.evidence),
        "",
        request.action,
        diff_text(request.diff, most=200) or "no field changes",
        "",
        f"risk       {request.risk}; {request.blast_radius}",
        f"policy     {request.rule}: {', '.join(request.policy_reasons)}",
        f"needed     {counted(max(1, request.quorum), 'approval')}{roles}",
        f"expires    {request.expires_at:%Y-%m-%d %H:%M:%S %Z}, then nothing is done",
        f"digest     {request.digest}",
    ]
    if votes:
        lines.append(f"answers    {votes_text(state, votes)}")
    return "\n".join(lines)


def votes_text(state: ApprovalState, votes: Sequence[Vote]) -> str:
    """`approved by ana (OOM confirmed)`; who said what."""
    said = "; ".join(
        f"{v.person.name or v.person.id}: {v.decision}{f' ({v.reason})' if v.reason else ''}" for v in votes
    )
    return f"{state}{f' by {said}' if said else ''}"


def linked_text(linked: Sequence[ResourceRef], most: int = 20) -> str:
    """`; with it: Deployment a/b, … and 3 more`, or nothing."""
    if not linked:
        return ""
    more = f" and {len(linked) - most} more" if len(linked) > most else ""
    return f"; with it {counted(len(linked), 'object')}: " + ", ".join(map(str, linked[:most])) + more


def merged_text(into: str, reason: LinkReason) -> str:
    """Where an incident went that turned out to be part of another."""
    return f"part of {into.removeprefix('incident:')} ({reason.value.replace('_', ' ')})"


def details_markdown(
    incident: Incident,
    diagnosis: Diagnosis | None,
    candidate: Candidate | None,
    approval: ApprovalRequest | None,
    note: str,
) -> str:
    """What the Temporal UI shows for the running workflow. Text from the cluster is fenced."""
    lines = [
        f"### {incident.id} · {incident.state}",
        "",
        "| severity | risk | object | signals | attempt | since |",
        "|---|---|---|---|---|---|",
        f"| {incident.severity} | {incident.risk_score} | {_plain(str(incident.resource))} "
        f"| {incident.signal_count} | {incident.attempts} | {incident.detected_at:%Y-%m-%d %H:%M:%S} UTC |",
        "",
        _fenced(note or incident.reason),
    ]
    if incident.linked:
        lines += ["**Part of it**", "", _fenced("\n".join(map(str, incident.linked[:50])))]
    if diagnosis is not None:
        lines += ["**Cause**", "", _fenced(diagnosis.summary)]
    if candidate is not None:
        lines += ["**Action**", "", _fenced(f"{candidate.action}\n{candidate.why}")]
    if approval is not None and incident.state is IncidentState.APPROVAL_PENDING:
        lines += [
            f"**Waiting for approval** `{approval.id}` until {approval.expires_at:%H:%M:%S} UTC, "
            f"quorum {approval.quorum}",
            "",
            _fenced(diff_text(approval.diff)),
        ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _fenced(text: str) -> str:
    return "```\n" + text.replace("```", "'''") + "\n```"
