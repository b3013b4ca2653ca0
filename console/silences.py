"""Silences over HTTP and on a page. Reading needs the right to read; adding and lifting need a person."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import RedirectResponse, Response

from console.desk import Desk, desk_of
from console.rendering import render
from cortexops.adapters.held import Lifted, new_id
from cortexops.domain.approval import Person
from cortexops.domain.errors import InvalidInput
from cortexops.domain.silence import Matcher, Silence, SilenceKind, Weekly

router = APIRouter(tags=["silences"])
pages = APIRouter(include_in_schema=False)
_LONGEST_MINUTES = 60 * 24 * 366 * 10
_SHOWN = 200
_DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_NOTICES = {
    "lifted": "It is lifted. What it held looks again.",
    "untold": "It is lifted, but not all held incidents could be told; they look again when their time is up.",
}


class SilenceBody(BaseModel):
    """What, how long and why. Who adds it is told by the token alone."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(min_length=1, max_length=500)
    matcher: Matcher
    kind: SilenceKind = SilenceKind.SILENCE
    starts_at: AwareDatetime | None = Field(None, description="now when absent")
    ends_at: AwareDatetime | None = Field(None, description="either this or minutes")
    minutes: int | None = Field(None, ge=1, le=_LONGEST_MINUTES, description="from the start")
    weekly: Weekly | None = Field(None, description="only in this window of each week; day 0 is Monday")


@router.get("/silences")
async def silences(
    request: Request,
    ended: bool = False,
    limit: Annotated[int, Query(ge=1, le=500)] = _SHOWN,
) -> dict[str, Any]:
    """Newest first. `holds_until` is null for one that holds nothing now; `ended=true`: also those that
    have ended or were lifted."""
    desk = desk_of(request)
    now = desk.clock()
    found = await desk.store.silences(ended=ended, most=limit)
    return {"silences": [_json(silence, now) for silence in found]}


@router.post("/silences", status_code=201)
async def add(request: Request, body: SilenceBody) -> dict[str, Any]:
    """Hold automation and notices of what matches all that is given."""
    desk = desk_of(request)
    person = desk.gate.actor(request)
    now = desk.clock()
    return _json(await desk.silencing.add(_drafted(body, person, now), now, via=person.via), now)


@router.delete("/silences/{silence_id}")
async def lift(request: Request, silence_id: str) -> dict[str, Any]:
    """End it now; held incidents look again. `complete` is false when not all could be told: repeat it."""
    desk = desk_of(request)
    done = await _lift(desk, desk.gate.actor(request), silence_id)
    return {**_json(done.silence, desk.clock()), "told": done.told, "complete": done.complete}


async def _lift(desk: Desk, person: Person, silence_id: str) -> Lifted:
    return await desk.silencing.lift(silence_id, person.id, desk.clock(), via=person.via)


def _drafted(body: SilenceBody, person: Person, now: datetime) -> Silence:
    """Raises `InvalidInput`."""
    if (body.ends_at is None) == (body.minutes is None):
        raise InvalidInput("ends_at", "give either ends_at or minutes")
    start = body.starts_at or now
    try:
        return Silence(
            id=new_id(),
            kind=body.kind,
            matcher=body.matcher,
            starts_at=start,
            ends_at=body.ends_at or start + timedelta(minutes=body.minutes or 0),
            weekly=body.weekly,
            reason=body.reason.strip(),
            created_by=person.id,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(".".join(str(part) for part in first["loc"]), first["msg"]) from None
    except OverflowError:
        raise InvalidInput("minutes", "lead beyond the calendar") from None


def _json(silence: Silence, now: datetime) -> dict[str, Any]:
    return {**silence.model_dump(mode="json"), "holds_until": silence.until(now)}


@pages.get("/silences")
async def silence_page(request: Request, done: str = "") -> Response:
    """What is silenced now, or will be."""
    desk = desk_of(request)
    now = desk.clock()
    found = await desk.store.silences(most=_SHOWN)
    return render(
        request,
        "silences.html",
        {
            "silences": [(silence, silence.until(now), _fields(silence)) for silence in found],
            "days": _DAYS,
            "notice": _NOTICES.get(done, ""),
        },
    )


def _fields(silence: Silence) -> list[tuple[str, str]]:
    return [(field, value) for field, value in silence.matcher.model_dump().items() if value]


@pages.post("/silences/{silence_id}/lift")
async def lift_by_form(
    request: Request, silence_id: str, csrf: Annotated[str, Form(max_length=128)] = ""
) -> Response:
    desk = desk_of(request)
    done = await _lift(desk, desk.gate.actor(request, csrf=csrf), silence_id)
    return RedirectResponse(f"/silences?done={'lifted' if done.complete else 'untold'}", 303)
