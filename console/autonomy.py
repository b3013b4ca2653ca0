"""The autonomy ladder over HTTP and on a page. Setting and clearing levels needs a role."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from console.desk import Desk, desk_of
from console.rendering import render
from console.switches import may_loosen
from cortexops.adapters.controls import Controls, Standing, standings
from cortexops.adapters.guardrails import guardrails
from cortexops.domain.approval import Person
from cortexops.domain.autonomy import Level, Override, explained

router = APIRouter(tags=["autonomy"])
pages = APIRouter(include_in_schema=False)
_NOTICES = {"cleared": "It is cleared. The level is what was earned."}


class LevelBody(BaseModel):
    """Which level for what, how long and why. Who sets it is told by the token alone."""

    model_config = ConfigDict(extra="forbid")
    level: Level
    reason: str = Field(min_length=1, max_length=500)
    days: float = Field(7, gt=0, le=90)
    cluster: str = Field("", max_length=63, description="only there; everywhere when empty")
    namespace: str = Field("", max_length=63)
    workload: str = Field("", max_length=320, pattern=r"^([^/]+/[^/]+)?$", description="KIND/NAME")
    action: str = Field("", max_length=63)


@router.get("/autonomy")
async def levels(
    request: Request, environment: Annotated[str, Query(max_length=63)] = "production"
) -> dict[str, Any]:
    """The level of everything that has a past, why, and what people have set. `environment`: whose start and
    cap count."""
    desk = desk_of(request)
    found = await _standings(desk, environment)
    return {
        "shadow": desk.settings.autonomy.shadow,
        "levels": [_json(desk, one) for one in found],
        "overrides": [override.model_dump(mode="json") for override in await desk.store.overrides()],
    }


@router.post("/autonomy/overrides", status_code=201)
async def set_level(request: Request, body: LevelBody) -> dict[str, Any]:
    """Set a level for a time; never above the cap of the environment."""
    desk = desk_of(request)
    person = desk.gate.actor(request)
    may_loosen(desk, person)
    now = desk.clock()
    made = await Controls(desk.store).set_level(
        body.level,
        body.reason,
        person.id,
        now,
        until=now + timedelta(days=body.days),
        via=person.via,
        cluster=body.cluster,
        namespace=body.namespace,
        workload=body.workload,
        action=body.action,
    )
    return made.model_dump(mode="json")


@router.delete("/autonomy/overrides/{override_id}")
async def clear_level(request: Request, override_id: str) -> dict[str, Any]:
    """Let the level be what was earned again."""
    desk = desk_of(request)
    return (await _clear(desk, desk.gate.actor(request), override_id)).model_dump(mode="json")


async def _clear(desk: Desk, person: Person, override_id: str) -> Override:
    may_loosen(desk, person)
    return await Controls(desk.store).clear_level(override_id, person.id, desk.clock(), via=person.via)


async def _standings(desk: Desk, environment: str) -> list[Standing]:
    return await standings(desk.store, guardrails(desk.settings).ladder, environment, desk.clock())


def _json(desk: Desk, one: Standing) -> dict[str, Any]:
    said = explained(one.autonomy, guardrails(desk.settings).ladder, one.override)
    return {**one.place.model_dump(), **one.autonomy.model_dump(mode="json"), "explanation": said}


@pages.get("/autonomy")
async def autonomy_page(
    request: Request, environment: Annotated[str, Query(max_length=63)] = "production", done: str = ""
) -> Response:
    """Levels, why, and what people have set."""
    desk = desk_of(request)
    ladder = guardrails(desk.settings).ladder
    found = await _standings(desk, environment)
    return render(
        request,
        "autonomy.html",
        {
            "levels": [(one, explained(one.autonomy, ladder, one.override)) for one in found],
            "overrides": await desk.store.overrides(),
            "ladder": ladder,
            "environment": environment,
            "notice": _NOTICES.get(done, ""),
        },
    )


@pages.post("/autonomy/overrides/{override_id}/clear")
async def clear_by_form(
    request: Request, override_id: str, csrf: Annotated[str, Form(max_length=128)] = ""
) -> Response:
    desk = desk_of(request)
    await _clear(desk, desk.gate.actor(request, csrf=csrf), override_id)
    return RedirectResponse("/autonomy?done=cleared", 303)
