"""What every request passes: host check, size limit, who may read, and the headers of every answer."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.errors import error_response
from console.identity import Gate, Unauthenticated
from cortexops.adapters.refusals import Refusals, RequestRefusal
from cortexops.domain.errors import Forbidden, InvalidInput
from cortexops.settings import is_loopback

PUBLIC = frozenset({"/debug/healthz", "/metrics", "/slack/interactions", "/login"})
"""Readable without an identity; Slack's requests are signed instead."""
MAX_BODY = 1024 * 1024

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware; whatever is not listed as public needs the right to read."""

    def __init__(
        self, app: ASGIApp, gate: Gate, *, local_only: bool, refusals: Refusals | None = None
    ) -> None:
        self._app = app
        self._gate = gate
        self._local_only = local_only
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        path: str = scope["path"]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault(
                    "cache-control", "max-age=300" if path.startswith("/static/") else "no-store"
                )
            await send(message)

        refused = self._refusal(connection, scope["method"], path)
        if refused is not None:
            if self._refusals is not None and isinstance(refused, Unauthenticated) and answers(scope):
                await self._refusals.request("http", RequestRefusal.UNAUTHENTICATED)
            await error_response(connection, refused)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _refusal(self, connection: HTTPConnection, method: str, path: str) -> Exception | None:
        if self._local_only and not is_loopback(_host(connection)):
            # Reading is open on loopback; a page elsewhere must not get at it by renaming itself in DNS.
            return Forbidden("This console listens for this machine only: use http://127.0.0.1 or localhost.")
        if method not in ("GET", "HEAD", "OPTIONS"):
            length = connection.headers.get("content-length", _none_said(connection, method))
            if not length.isdigit() or int(length) > MAX_BODY:
                return InvalidInput("body", f"say its Content-Length, {MAX_BODY} bytes at most")
        if path in PUBLIC or path.startswith("/static/") or self._gate.may_read(connection):
            return None
        return Unauthenticated(
            "This needs an identity: send `Authorization: Bearer TOKEN` or `X-API-Key: TOKEN`, "
            "or sign in at /login."
        )


def answers(scope: Scope) -> bool:
    """Whether somebody is trying to answer an approval."""
    path: str = scope["path"]
    return scope["method"] == "POST" and path.startswith(("/api/v1/approvals/", "/approvals/"))


def _none_said(connection: HTTPConnection, method: str) -> str:
    """A DELETE that tells of no body in any way has none, as clients send it; others must say so."""
    return "0" if method == "DELETE" and "transfer-encoding" not in connection.headers else ""


def _host(connection: HTTPConnection) -> str:
    host = connection.headers.get("host", "")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
