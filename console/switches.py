"""The kill switch over HTTP and on a page. Any known person may stop; taking back needs a role."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from console.desk import Desk, desk_of
from console.rendering import render
from cortexops.adapters.controls import Controls
from cortexops.domain.approval import Person
from cortexops.domain.errors import Forbidden, InvalidInput
from cortexops.domain.limits import Slot
from cortexops.domain.switch import Scope, Stop

router = APIRouter(tags=["stops"])
pages = APIRouter(include_in_schema=False)
_LONGEST_MINUTES = 60 * 24 * 366
_SHOWN = 200
_NOTICES = {"stopped": "It is stopped. What is not sent yet is not sent.", "resumed": "It is taken back."}


class StopBody(BaseModel):
    """What and why. Who stops it is told by the token alone."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(min_length=1, max_length=500)
    everything: bool = Field(False, description="must be true for a stop without any scope")
    scope: Scope = Scope()
    minutes: int | None = Field(
        None, ge=1, le=_LONGEST_MINUTES, description="until somebody resumes when absent"
    )


@router.get("/stops")
async def stops(
    request: Request, ended: bool = False, limit: Annotated[int, Query(ge=1, le=500)] = _SHOWN
) -> dict[str, Any]:
    """Newest first; `ended=true`: also those that stop nothing any more. `running`: who acts or waits now."""
    desk = desk_of(request)
    found = await desk.store.stops(ended=ended, most=limit)
    running = await desk.store.slots()
    return {
        "stops": [_json(desk, stop) for stop in found],
        "running": [slot.model_dump(mode="json") for slot in running],
    }


@router.post("/stops", status_code=201)
async def add(request: Request, body: StopBody) -> dict[str, Any]:
    """Stop every change within the scope now, also those of incidents under way."""
    desk = desk_of(request)
    person = desk.gate.actor(request)
    if body.everything == bool(body.scope.model_dump(exclude_defaults=True)):
        raise InvalidInput("scope", "name a cluster, a namespace or an action, or say everything: true")
    return _json(desk, await _stop(desk, person, body.scope, body.reason, body.minutes))


@router.delete("/stops/{stop_id}")
async def resume(request: Request, stop_id: str) -> dict[str, Any]:
    """Take it back. Doing it twice changes nothing."""
    desk = desk_of(request)
    return _json(desk, await _resume(desk, desk.gate.actor(request), stop_id))


async def _stop(desk: Desk, person: Person, scope: Scope, reason: str, minutes: int | None) -> Stop:
    now = desk.clock()
    until = now + timedelta(minutes=minutes) if minutes else None
    return await Controls(desk.store).stop(scope, reason, person.id, now, until=until, via=person.via)


async def _resume(desk: Desk, person: Person, stop_id: str) -> Stop:
    may_loosen(desk, person)
    return await Controls(desk.store).resume(stop_id, person.id, desk.clock(), via=person.via)


def may_loosen(desk: Desk, person: Person) -> None:
    """Raise `Forbidden` unless the person may let automation do more."""
    roles = desk.settings.autonomy.roles
    if roles and not set(roles) & set(person.roles):
        raise Forbidden(f"letting automation do more needs one of the roles {', '.join(roles)}")


def _json(desk: Desk, stop: Stop) -> dict[str, Any]:
    return {**stop.model_dump(mode="json"), "in_force": stop.in_force(desk.clock())}


@pages.get("/stops")
async def stop_page(request: Request, done: str = "") -> Response:
    """What is stopped, who acts now, and the button that stops everything."""
    desk = desk_of(request)
    now = desk.clock()
    slots: list[Slot] = [slot for slot in await desk.store.slots() if slot.expires_at > now]
    return render(
        request,
        "stops.html",
        {
            "stops": await desk.store.stops(most=_SHOWN),
            "slots": slots,
            "limits": desk.settings.limits,
            "now": now,
            "notice": _NOTICES.get(done, ""),
        },
    )


@pages.post("/stops")
async def stop_by_form(
    request: Request,
    reason: Annotated[str, Form(max_length=500)] = "",
    cluster: Annotated[str, Form(max_length=63)] = "",
    namespace: Annotated[str, Form(max_length=63)] = "",
    action: Annotated[str, Form(max_length=63)] = "",
    csrf: Annotated[str, Form(max_length=128)] = "",
) -> Response:
    desk = desk_of(request)
    person = desk.gate.actor(request, csrf=csrf)
    scope = Scope(cluster=cluster.strip(), namespace=namespace.strip(), action=action.strip())
    await _stop(desk, person, scope, reason, None)
    return RedirectResponse("/stops?done=stopped", 303)


@pages.post("/stops/{stop_id}/resume")
async def resume_by_form(
    request: Request, stop_id: str, csrf: Annotated[str, Form(max_length=128)] = ""
) -> Response:
    desk = desk_of(request)
    await _resume(desk, desk.gate.actor(request, csrf=csrf), stop_id)
    return RedirectResponse("/stops?done=resumed", 303)
