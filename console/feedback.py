"""People's words on diagnoses, over HTTP and from the incident's page. Who speaks is told by the token alone."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from console.desk import Desk, desk_of
from console.reading import incident_of
from cortexops.adapters.judging import Judging
from cortexops.domain.approval import Person
from cortexops.domain.experience import adjustments
from cortexops.domain.feedback import LONGEST_NOTE, Feedback, Rating, standing

router = APIRouter(tags=["feedback"])
pages = APIRouter(include_in_schema=False)

NOTICES = {
    "feedback": "Your word on the diagnosis is kept. It counts from the next investigation on.",
    "feedback-undone": "Your word is taken back.",
}


class FeedbackBody(BaseModel):
    """How good the diagnosis was, and what the cause really was."""

    model_config = ConfigDict(extra="forbid")
    rating: Rating
    cause: str = Field("", max_length=600, description="the true cause as KIND/NAMESPACE/NAME")
    category: str = Field("", max_length=64, description="its category, as diagnoses name them")
    note: str = Field("", max_length=LONGEST_NOTE)


@router.post("/incidents/{incident_id}/feedback", status_code=201)
async def say(request: Request, incident_id: str, body: FeedbackBody) -> dict[str, Any]:
    """Judge the diagnosis; your later word on an incident replaces your earlier one."""
    desk = desk_of(request)
    person = desk.gate.actor(request)
    return _json(await _say(desk, person, incident_id, body))


@router.delete("/incidents/{incident_id}/feedback")
async def undo(request: Request, incident_id: str) -> dict[str, Any]:
    """Take back your word on it; what you said before stands again."""
    desk = desk_of(request)
    person = desk.gate.actor(request)
    return _json(await Judging(desk.store).undo(incident_id, person, now=desk.clock()))


@router.get("/incidents/{incident_id}/feedback")
async def of_incident(request: Request, incident_id: str) -> dict[str, Any]:
    """The words on it that count now."""
    store = desk_of(request).store
    await incident_of(store, incident_id)
    rows = await store.feedback(incident_id=incident_id)
    return {"incident_id": incident_id, "feedback": [_json(word) for word in standing(rows)]}


@router.get("/feedback/effect")
async def effect(request: Request, cluster: Annotated[str, Query(max_length=63)] = "") -> dict[str, Any]:
    """What people's words change now in the ranking of hypotheses, and why."""
    rows = await desk_of(request).store.feedback(cluster=cluster)
    return {"adjustments": [a.model_dump(mode="json") for a in adjustments(rows) if a.by or a.last]}


async def _say(desk: Desk, person: Person, incident_id: str, body: FeedbackBody) -> Feedback:
    return await Judging(desk.store).say(
        incident_id,
        person,
        body.rating,
        now=desk.clock(),
        cause=body.cause.strip(),
        category=body.category.strip(),
        note=body.note,
    )


def _json(word: Feedback) -> dict[str, Any]:
    return word.model_dump(mode="json")


@pages.post("/incidents/{incident_id}/feedback/undo")
async def undo_by_form(
    request: Request, incident_id: str, csrf: Annotated[str, Form(max_length=128)] = ""
) -> Response:
    desk = desk_of(request)
    person = desk.gate.actor(request, csrf=csrf)
    await Judging(desk.store).undo(incident_id, person, now=desk.clock())
    return RedirectResponse(f"/incidents/{incident_id}?done=feedback-undone", 303)


@pages.post("/incidents/{incident_id}/feedback")
async def say_by_form(
    request: Request,
    incident_id: str,
    rating: Annotated[Rating, Form()],
    csrf: Annotated[str, Form(max_length=128)] = "",
    cause: Annotated[str, Form(max_length=600)] = "",
    category: Annotated[str, Form(max_length=64)] = "",
    note: Annotated[str, Form(max_length=LONGEST_NOTE)] = "",
) -> Response:
    desk = desk_of(request)
    person = desk.gate.actor(request, csrf=csrf)
    body = FeedbackBody(rating=rating, cause=cause, category=category, note=note)
    await _say(desk, person, incident_id, body)
    return RedirectResponse(f"/incidents/{incident_id}?done=feedback", 303)
