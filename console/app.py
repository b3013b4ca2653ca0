"""The console's application: API, pages, Slack's buttons, health and metrics behind one guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import api, autonomy, feedback, operations, pages, silences, slack, switches
from console.desk import Components, Desk, Silencing, Votes
from console.errors import error_response
from console.guard import Guard, answers
from console.identity import Gate, Sessions, Unauthenticated
from console.rendering import FOLDER
from cortexops import __version__
from cortexops.adapters.refusals import Refusals, RequestRefusal
from cortexops.domain.errors import CortexError
from cortexops.domain.people import People
from cortexops.ports.store import Store
from cortexops.settings import Settings, is_loopback


def utc_now() -> datetime:
    return datetime.now(UTC)


def create_console(
    settings: Settings,
    store: Store,
    votes: Votes,
    components: Components,
    silencing: Silencing,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """The application. `votes` takes the votes to the workflows; `components` tells each part's health,
    `silencing` adds and lifts silences.

    Reading is open only on loopback with nobody configured; acting needs a person always.
    """
    people = People(settings.people)
    local = is_loopback(settings.console.host)
    open_reads = local and not people.with_tokens
    gate = Gate(people, Sessions(clock), open_reads=open_reads)
    desk = Desk(settings, store, votes, gate, components, silencing, clock)
    buttons = slack.Buttons(desk)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await buttons.finish()

    app = FastAPI(
        title="CortexOps",
        version=__version__,
        description="Incidents, approvals, postmortems, audit trail.",
        docs_url=None,  # the usual viewers load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.desk, app.state.gate, app.state.buttons = desk, gate, buttons
    for part in (
        api.router,
        operations.router,
        slack.router,
        silences.pages,
        switches.pages,
        autonomy.pages,
        feedback.pages,
        pages.router,
    ):
        app.include_router(part)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    refusals = Refusals(store, clock)
    app.add_middleware(Guard, gate=gate, local_only=open_reads, refusals=refusals)

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, Unauthenticated) and answers(request.scope):
            await refusals.request("http", RequestRefusal.UNAUTHENTICATED)
        return error_response(request, error)

    handled: tuple[type[Exception], ...] = (CortexError, RequestValidationError, HTTPException, Exception)
    for kind in handled:
        app.add_exception_handler(kind, answer)
    return app
