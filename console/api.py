"""The REST API. Reading needs the right to read; acting needs a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from console import analytics, audit, autonomy, feedback, silences, switches
from console.desk import Desk, desk_of
from console.reading import (
    approval_json,
    dossier,
    effective_state,
    evidence_rows,
    incident_json,
    incident_of,
    runbook_of,
    timeline,
)
from cortexops.adapters.held import went_into
from cortexops.domain.approval import LONGEST_REASON, ApprovalState, Decision, Person, checked_reason
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.errors import NotFound
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.postmortem import Postmortem, PostmortemState
from cortexops.domain.signal import Severity

router = APIRouter(prefix="/api/v1")
router.include_router(silences.router)
router.include_router(audit.router)
router.include_router(switches.router)
router.include_router(autonomy.router)
router.include_router(feedback.router)
Most = Annotated[int, Query(ge=1, le=500, alias="limit")]


class VoteBody(BaseModel):
    """Why (needed to deny and to take over), and which diff was looked at. Who votes is told by the token alone."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=LONGEST_REASON, description="why; needed to deny and to take over")
    digest: str = Field(min_length=1, max_length=128, description="digest of the approval that you looked at")


class ReviewBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=1000)


@router.get("/incidents", tags=["incidents"])
async def incidents(
    request: Request,
    state: Annotated[list[IncidentState] | None, Query()] = None,
    severity: Severity | None = None,
    open: bool = False,
    limit: Most = 100,
) -> dict[str, Any]:
    """Newest first. `open=true`: only those that have not ended."""
    desk = desk_of(request)
    found = await desk.store.incidents(open_only=open, states=state or (), severity=severity, most=limit)
    return {"incidents": [incident_json(incident, desk.clock()) for incident in found]}


@router.get("/incidents/{incident_id}", tags=["incidents"])
async def incident(request: Request, incident_id: str) -> dict[str, Any]:
    """The incident with its diagnosis, what was changed, and who was asked."""
    desk = desk_of(request)
    known = await dossier(desk.store, incident_id)
    diagnosis = known.diagnosis.model_dump(mode="json") if known.diagnosis else None
    if diagnosis is not None:
        diagnosis["evidence"] = _evidence(known.diagnosis)
        diagnosis["summary"] = known.diagnosis.summary if known.diagnosis else ""
        used = runbook_of(known)
        diagnosis["runbook"] = used.model_dump(mode="json") if used else None
    return {
        "incident": incident_json(known.incident, desk.clock()),
        "merged_into_id": await went_into(desk.store, known.incident),
        "diagnosis": diagnosis,
        "ledger": [row.model_dump(mode="json") for row in known.ledger],
        "approvals": [approval_json(record, desk.clock()) for record in known.approvals],
        "postmortem": known.postmortem.id if known.postmortem else None,
    }


@router.get("/incidents/{incident_id}/timeline", tags=["incidents"])
async def incident_timeline(request: Request, incident_id: str) -> dict[str, Any]:
    """Every recorded event, with its distance from detection."""
    store = desk_of(request).store
    found = await incident_of(store, incident_id)
    moments = timeline(found, await store.events(incident_id))
    return {"incident_id": incident_id, "timeline": [m.model_dump(mode="json") for m in moments]}


@router.get("/incidents/{incident_id}/evidence", tags=["incidents"])
async def incident_evidence(request: Request, incident_id: str) -> dict[str, Any]:
    """What the diagnosis rests on, and what could not be obtained."""
    store = desk_of(request).store
    await incident_of(store, incident_id)
    diagnosis = await store.diagnosis(incident_id)
    gaps = [gap.model_dump(mode="json") for gap in diagnosis.gaps] if diagnosis else []
    return {"incident_id": incident_id, "evidence": _evidence(diagnosis), "gaps": gaps}


def _evidence(diagnosis: Any) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key != "resource_text"}
        for row in evidence_rows(diagnosis)
    ]


@router.get("/approvals", tags=["approvals"])
async def approvals(
    request: Request, state: ApprovalState | None = None, limit: Most = 100
) -> dict[str, Any]:
    """`state=pending` are those that wait for people."""
    desk = desk_of(request)
    now = desk.clock()
    found = await desk.store.approvals(state=state, most=limit)
    return {
        "approvals": [
            approval_json(a, now) for a in found if state is None or effective_state(a, now) is state
        ]
    }


@router.get("/approvals/{approval_id}", tags=["approvals"])
async def approval(request: Request, approval_id: str) -> dict[str, Any]:
    """One in full: the exact change, why, who is needed, and what was answered."""
    desk = desk_of(request)
    record = await desk.store.approval(approval_id)
    if record is None:
        raise NotFound(f"There is no approval {approval_id!r}.")
    return approval_json(record, desk.clock())


@router.post("/approvals/{approval_id}/approve", tags=["approvals"])
async def approve(request: Request, approval_id: str, body: VoteBody) -> dict[str, Any]:
    """Approve exactly the change with this digest. `outcome` is `already_voted` for an answer that stands already."""
    return await _vote(request, approval_id, Decision.APPROVE, body)


@router.post("/approvals/{approval_id}/deny", tags=["approvals"])
async def deny(request: Request, approval_id: str, body: VoteBody) -> dict[str, Any]:
    """Nothing is done; the incident ends as DENIED. Needs a `reason`."""
    return await _vote(request, approval_id, Decision.DENY, body)


@router.post("/approvals/{approval_id}/take-over", tags=["approvals"])
async def take_over(request: Request, approval_id: str, body: VoteBody) -> dict[str, Any]:
    """Nothing is done; you investigate by hand. Needs a `reason`."""
    return await _vote(request, approval_id, Decision.TAKE_OVER, body)


async def _vote(request: Request, approval_id: str, decision: Decision, body: VoteBody) -> dict[str, Any]:
    desk = desk_of(request)
    person = desk.gate.actor(request)
    reason = checked_reason(decision, body.reason)
    result = await desk.votes.cast(approval_id, person, decision, reason, body.digest)
    return {**result.model_dump(mode="json"), "decision": decision, "person": person.id}


@router.get("/postmortems", tags=["postmortems"])
async def postmortems(request: Request, limit: Most = 100) -> dict[str, Any]:
    found = await desk_of(request).store.postmortems(most=limit)
    return {"postmortems": [postmortem.model_dump(mode="json") for postmortem in found]}


@router.get("/postmortems/{postmortem_id}", tags=["postmortems"])
async def postmortem(request: Request, postmortem_id: str) -> dict[str, Any]:
    return (await postmortem_of(desk_of(request), postmortem_id)).model_dump(mode="json")


@router.post("/postmortems/{postmortem_id}/review", tags=["postmortems"])
async def review(request: Request, postmortem_id: str, body: ReviewBody | None = None) -> dict[str, Any]:
    """Open → InReview."""
    return await _advance(request, postmortem_id, PostmortemState.IN_REVIEW, body)


@router.post("/postmortems/{postmortem_id}/close", tags=["postmortems"])
async def close(request: Request, postmortem_id: str, body: ReviewBody | None = None) -> dict[str, Any]:
    """InReview → Closed."""
    return await _advance(request, postmortem_id, PostmortemState.CLOSED, body)


async def _advance(
    request: Request, postmortem_id: str, to: PostmortemState, body: ReviewBody | None
) -> dict[str, Any]:
    desk = desk_of(request)
    person = desk.gate.actor(request)
    moved = await advance_postmortem(desk, person, postmortem_id, to, body.reason if body else "")
    return moved.model_dump(mode="json")


async def postmortem_of(desk: Desk, postmortem_id: str) -> Postmortem:
    """Raises `NotFound`."""
    found = await desk.store.postmortem(postmortem_id)
    if found is None:
        raise NotFound(f"There is no postmortem {postmortem_id!r}.")
    return found


async def advance_postmortem(
    desk: Desk, person: Person, postmortem_id: str, to: PostmortemState, reason: str
) -> Postmortem:
    """Move it on, with the audit row that says who did. Raises `NotFound`, `Conflict`."""
    found = await postmortem_of(desk, postmortem_id)
    entry = AuditEntry(
        chain=found.incident_id,
        type=AuditType.POSTMORTEM,
        reason="reviewed" if to is PostmortemState.IN_REVIEW else "closed",
        detail=f"{postmortem_id}: {found.state} → {to}{f': {reason}' if reason else ''}",
        actor=person.id,
        at=desk.clock(),
        data={"via": person.via},
        idempotency_key=f"{postmortem_id}:{to}",
    )
    return await desk.store.advance_postmortem(postmortem_id, to, entry)


async def _window(request: Request, window: str) -> list[Incident]:
    desk = desk_of(request)
    length: timedelta = analytics.parse_window(window)
    return await analytics.incidents_since(desk.store, desk.clock() - length)


@router.get("/analytics/summary", tags=["analytics"])
async def analytics_summary(request: Request, window: str = "7d") -> dict[str, Any]:
    return {"window": window, **analytics.summary(await _window(request, window))}


@router.get("/analytics/top-resources", tags=["analytics"])
async def analytics_top(request: Request, window: str = "7d", limit: Most = 10) -> dict[str, Any]:
    return {"window": window, "resources": analytics.top_resources(await _window(request, window), limit)}


@router.get("/analytics/mttr", tags=["analytics"])
async def analytics_mttr(request: Request, window: str = "7d") -> dict[str, Any]:
    """Only RESOLVED counts. `null` where nothing was resolved."""
    return {"window": window, **analytics.mttr(await _window(request, window))}
