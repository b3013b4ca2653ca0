"""Serving HTTP inside a process that does other things too."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cortexops.domain.errors import Conflict
from cortexops.metrics import UNHEALTHY

Components = Callable[[], Awaitable[dict[str, str | None]]]
"""Each component's name, and None or what is wrong with it."""


class _Quiet(uvicorn.Server):
    """Leaves the signals to the process that owns it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """An ASGI application on one address. Raises `Conflict` when the address is taken."""

    def __init__(self, app: Any, host: str, port: int) -> None:
        self._config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=3,
            server_header=False,
        )
        self._server = _Quiet(self._config)
        self._host, self._port = host, port
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # asyncio switches Nagle's delay off only where it is told that this is TCP: 40 ms for each answer.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self._port))
        except OSError as error:
            listening.close()
            raise Conflict(f"cannot listen on {self._host}:{self._port}: {error.strerror}") from None
        self._port = listening.getsockname()[1]
        self._socket = listening
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))
        while not self._server.started:
            if self._task.done():
                await self._task
                raise Conflict(f"the server on {self.url} ended at once")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        if self._task is not None:
            self._server.should_exit = True
            await self._task
            self._task = None
        if self._socket is not None:
            self._socket.close()


async def health_report(components: Components) -> tuple[bool, dict[str, Any]]:
    """Whether all is well, and the body of `/debug/healthz`: each component by name."""
    found = await components()
    for name, problem in found.items():
        UNHEALTHY.labels(component=name).set(0 if problem is None else 1)
    well = all(problem is None for problem in found.values())
    body = {
        "status": "ok" if well else "unhealthy",
        "components": {
            name: {"status": "ok"} if problem is None else {"status": "unhealthy", "problem": problem}
            for name, problem in sorted(found.items())
        },
    }
    return well, body


def diagnostics_app(components: Components, token: str | None = None) -> Starlette:
    """`/debug/healthz` and `/metrics` of a process that serves nothing else; with a token only for its bearer."""

    def refused(request: Request) -> Response | None:
        shown = request.headers.get("authorization", "")
        if token is None or hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
            return None
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})

    async def healthz(request: Request) -> Response:
        if (refusal := refused(request)) is not None:
            return refusal
        well, body = await health_report(components)
        return JSONResponse(body, status_code=200 if well else 503)

    async def metrics(request: Request) -> Response:
        return refused(request) or Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/debug/healthz", healthz), Route("/metrics", metrics)])
