"""The web pages. Forms post back here; each carries the CSRF token of its session."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from console.api import advance_postmortem, postmortem_of
from console.desk import desk_of
from console.feedback import NOTICES as FEEDBACK_NOTICES
from console.identity import COOKIE, SESSION_LIFE
from console.reading import (
    CONFIDENCE_WORDS,
    dossier,
    effective_state,
    evidence_rows,
    pending,
    runbook_of,
    timeline,
)
from console.rendering import offset, render
from console.telling import OUTCOMES, considered, decisions, folded, told
from cortexops.adapters.held import went_into
from cortexops.domain.approval import ApprovalState, Decision, VoteOutcome, checked_reason
from cortexops.domain.diagnosis import Category
from cortexops.domain.errors import Forbidden, InvalidInput
from cortexops.domain.feedback import Rating, standing
from cortexops.domain.incident import IncidentState
from cortexops.domain.people import VoteNotCounted
from cortexops.domain.postmortem import PostmortemState
from cortexops.domain.signal import Severity

E = TypeVar("E", bound=StrEnum)
router = APIRouter(include_in_schema=False)
_SHOWN = 100

_NOTICES = {
    "approve": "Your approval is counted.",
    "deny": "Denied. Nothing is done.",
    "take_over": "It is yours now. Nothing is done automatically.",
    "already_voted": "You have given this answer already. It counts once.",
    **FEEDBACK_NOTICES,
}


@router.get("/")
async def incident_list(
    request: Request, severity: Annotated[str, Query()] = "", state: Annotated[str, Query()] = ""
) -> Response:
    """Open incidents first, the worst on top; then what ended lately."""
    desk = desk_of(request)
    chosen = _choice(Severity, severity, "severity")
    states = (_choice(IncidentState, state, "state"),) if state else ()
    wanted = tuple(s for s in states if s is not None)
    store = desk.store
    open_ones = await store.incidents(open_only=True, severity=chosen, states=wanted, most=_SHOWN)
    recent = await store.incidents(severity=chosen, states=wanted, most=_SHOWN)
    open_ones.sort(key=lambda i: (-i.severity.rank, -i.risk_score, i.detected_at))
    waiting = [
        a
        for a in await store.approvals(state=ApprovalState.PENDING, most=_SHOWN)
        if effective_state(a, desk.clock()) is ApprovalState.PENDING
    ]
    return render(
        request,
        "incidents.html",
        {
            "open_ones": open_ones,
            "ended": [incident for incident in recent if incident.state.final],
            "waiting": waiting,
            "now": desk.clock(),
            "severities": list(Severity),
            "states": list(IncidentState),
            "severity": chosen,
            "state": state,
            "shown": _SHOWN,
        },
    )


@router.get("/incidents/{incident_id}")
async def incident_page(request: Request, incident_id: str, done: str = "") -> Response:
    return await _incident_page(request, incident_id, notice=_NOTICES.get(done, ""))


async def _incident_page(
    request: Request,
    incident_id: str,
    *,
    notice: str = "",
    problem: str = "",
    reason: str = "",
    reason_problem: str = "",
) -> Response:
    desk = desk_of(request)
    known = await dossier(desk.store, incident_id)
    now = desk.clock()
    diagnosis = known.diagnosis
    asked = pending(known.approvals, now)
    person = desk.gate.person(request)
    needs = asked.request.roles if asked else ()
    return render(
        request,
        "incident.html",
        {
            "incident": known.incident,
            "into": await went_into(desk.store, known.incident),
            "diagnosis": diagnosis,
            "cause": diagnosis.cause if diagnosis else None,
            "others": considered(diagnosis),
            "symptoms": folded(diagnosis),
            "told": told(diagnosis),
            "decisions": decisions(known.events),
            "trail": await desk.store.verify(chain=incident_id),
            "wording": CONFIDENCE_WORDS[diagnosis.verdict] if diagnosis else "",
            "evidence": evidence_rows(diagnosis),
            "cited_ids": {fact.id for fact in diagnosis.evidence} if diagnosis else set(),
            "outcomes": OUTCOMES,
            "words": standing(await desk.store.feedback(incident_id=incident_id)),
            "ratings": list(Rating),
            "categories": [c for c in Category if c is not Category.UNKNOWN],
            "runbook": runbook_of(known),
            "moments": timeline(known.incident, known.events),
            "asked": asked,
            "may_approve": person is not None and (not needs or bool(set(needs) & set(person.roles))),
            "approvals": [(a, effective_state(a, now)) for a in known.approvals if a is not asked],
            "ledger": known.ledger,
            "postmortem": known.postmortem,
            "now": now,
            "most_attempts": desk.settings.incident.max_attempts,
            "notice": notice,
            "problem": problem,
            "reason": reason,
            "reason_problem": reason_problem,
            "temporal_url": _temporal_link(desk.settings.temporal.ui_url, known.incident.key),
        },
        status=409 if problem else 422 if reason_problem else 200,
    )


def _temporal_link(base: str, key: str) -> str:
    """Only a link that a browser opens as a page; settings may hold anything."""
    return f"{base.rstrip('/')}/workflows/{key}" if urlsplit(base).scheme in ("http", "https") else ""


@router.post("/approvals/{approval_id}/{decision}")
async def vote(
    request: Request,
    approval_id: str,
    decision: str,
    digest: Annotated[str, Form(max_length=128)],
    csrf: Annotated[str, Form(max_length=128)] = "",
    reason: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """One of the three buttons."""
    desk = desk_of(request)
    chosen = _choice(Decision, decision.replace("-", "_"), "decision")
    if chosen is None:
        raise InvalidInput("decision", "must be approve, deny or take-over")
    person = desk.gate.actor(request, csrf=csrf)
    record = await desk.store.approval(approval_id)
    try:
        result = await desk.votes.cast(approval_id, person, chosen, checked_reason(chosen, reason), digest)
    except InvalidInput as wrong:
        if record is None or wrong.field != "reason":
            raise
        return await _incident_page(
            request, record.request.incident_id, reason=reason, reason_problem=str(wrong)
        )
    except VoteNotCounted as refused:
        if record is None:
            raise
        return await _incident_page(request, record.request.incident_id, problem=str(refused), reason=reason)
    done = chosen.value if result.outcome is VoteOutcome.COUNTED else result.outcome.value
    where = f"/incidents/{record.request.incident_id}?done={done}" if record else "/approvals"
    return RedirectResponse(where, 303)


@router.get("/approvals")
async def approval_list(request: Request) -> Response:
    desk = desk_of(request)
    found = [(a, effective_state(a, desk.clock())) for a in await desk.store.approvals(most=_SHOWN)]
    return render(
        request,
        "approvals.html",
        {
            "waiting": [a for a, state in found if state is ApprovalState.PENDING],
            "decided": [(a, state) for a, state in found if state is not ApprovalState.PENDING],
            "now": desk.clock(),
        },
    )


@router.get("/postmortems")
async def postmortem_list(request: Request) -> Response:
    found = await desk_of(request).store.postmortems(most=_SHOWN)
    return render(request, "postmortems.html", {"postmortems": found})


@router.get("/postmortems/{postmortem_id}")
async def postmortem_page(request: Request, postmortem_id: str) -> Response:
    found = await postmortem_of(desk_of(request), postmortem_id)
    moments = [(offset(entry.timestamp - found.detected_at), entry) for entry in found.timeline]
    return render(request, "postmortem.html", {"postmortem": found, "moments": moments})


@router.post("/postmortems/{postmortem_id}/{step}")
async def postmortem_step(
    request: Request,
    postmortem_id: str,
    step: str,
    csrf: Annotated[str, Form(max_length=128)] = "",
    reason: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    desk = desk_of(request)
    to = {"review": PostmortemState.IN_REVIEW, "close": PostmortemState.CLOSED}.get(step)
    if to is None:
        raise InvalidInput("step", "must be review or close")
    person = desk.gate.actor(request, csrf=csrf)
    await advance_postmortem(desk, person, postmortem_id, to, reason.strip())
    return RedirectResponse(f"/postmortems/{postmortem_id}", 303)


@router.get("/login")
async def login_page(request: Request, next: str = "/") -> Response:
    return _login(request, next)


def _login(request: Request, next: str, problem: str = "") -> Response:
    configured = desk_of(request).gate.people.with_tokens
    values = {"next": _inside(next), "problem": problem, "configured": configured}
    return render(request, "login.html", values, status=401 if problem else 200)


@router.post("/login")
async def login(
    request: Request,
    token: Annotated[str, Form(max_length=512)],
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """The token opens a session; the token itself is kept nowhere."""
    _same_origin(request)
    gate = desk_of(request).gate
    person = gate.people.by_token(token.strip())
    if person is None:
        return _login(request, next, "Nobody has this token.")
    answer = RedirectResponse(_inside(next), 303)
    answer.set_cookie(
        COOKIE,
        gate.sessions.open(person),
        max_age=int(SESSION_LIFE.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=_over_tls(request),
    )
    return answer


@router.post("/logout")
async def logout(request: Request, csrf: Annotated[str, Form(max_length=128)] = "") -> Response:
    gate = desk_of(request).gate
    gate.actor(request, csrf=csrf)
    session = gate.session(request)
    if session is not None:
        gate.sessions.end(session)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _over_tls(request: Request) -> bool:
    public = desk_of(request).settings.console.public_url
    return request.url.scheme == "https" or public.startswith("https://")


def _inside(target: str) -> str:
    """A path of this console; anything that could lead elsewhere leads to the list."""
    inside = target.startswith("/") and not target.startswith("//") and "\\" not in target
    return target if inside and target.isprintable() else "/"


def _same_origin(request: Request) -> None:
    """Nobody signs this browser in from another page (there is no session yet to bind a token to)."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if site not in ("same-origin", "none") or foreign:
        raise Forbidden("Sign in from the console's own page.")


def _choice(kind: type[E], text: str, field: str) -> E | None:
    try:
        return kind(text) if text else None
    except ValueError:
        raise InvalidInput(field, f"{text!r} is not one of the choices") from None
