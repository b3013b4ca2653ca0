"""Slack at the wire: an HTTP server that keeps messages as Slack does and can fail, throttle and hang."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
BOT_TOKEN = "xoxb-not-a-real-one"
APP_TOKEN = "xapp-1-A0CORTEX-not-a-real-one"
TEAM, APP = "T0CORTEX", "A0CORTEX"
_TRIGGERS = itertools.count(1)


@dataclass
class Call:
    method: str
    body: dict[str, Any]
    token: str


@dataclass
class FakeSlack:
    """`failures` are answered first, one a call: an HTTP status, or Slack's error code with status 200."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[int | str] = field(default_factory=list)
    retry_after: int = 7
    hang_seconds: float = 0.0
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    """Socket Mode connections, the newest last."""
    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Envelope id → what was answered over the socket."""
    _number: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.text()
        form = "urlencoded" in request.content_type
        body: dict[str, Any] = dict(await request.post()) if form else json.loads(raw or "{}")
        method = request.match_info["method"]
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.calls.append(Call(method, body, token))
        if self.hang_seconds:
            await asyncio.sleep(self.hang_seconds)
        if self.failures:
            return self._fail(self.failures.pop(0))
        if method == "apps.connections.open" and token == APP_TOKEN:
            link = self.url.replace("http://", "ws://").replace("/api/", "/link/?ticket=1&app_id=1")
            return web.json_response({"ok": True, "url": link})
        if token != BOT_TOKEN:
            return web.json_response({"ok": False, "error": "invalid_auth"})
        return web.json_response(self._answer(method, body))

    async def link(self, request: web.Request) -> web.WebSocketResponse:
        """The far end of a Socket Mode connection."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": APP}})
        self.sockets.append(socket)
        async for message in socket:
            if message.type is web.WSMsgType.TEXT:
                answer = json.loads(message.data)
                self.acknowledged[answer["envelope_id"]] = answer
        return socket

    async def deliver(self, envelope_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send an interaction over the newest socket and wait for its acknowledgement."""
        self.acknowledged.pop(envelope_id, None)
        envelope = {
            "type": "interactive",
            "envelope_id": envelope_id,
            "accepts_response_payload": payload["type"] == "view_submission",
            "payload": payload,
        }
        await self.sockets[-1].send_json(envelope)
        async with asyncio.timeout(3):  # what Slack waits for
            while envelope_id not in self.acknowledged:
                await asyncio.sleep(0.01)
        return self.acknowledged[envelope_id]

    async def connected(self, sockets: int = 1) -> None:
        """Wait until so many connections were made."""
        async with asyncio.timeout(10):
            while len(self.sockets) < sockets:
                await asyncio.sleep(0.01)

    def _fail(self, failure: int | str) -> web.Response:
        if isinstance(failure, str):
            return web.json_response({"ok": False, "error": failure})
        headers = {"Retry-After": str(self.retry_after)} if failure == 429 else {}
        if failure == 429:
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
        return web.Response(text="<html>bad gateway</html>", status=failure, content_type="text/html")

    def _answer(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        if method == "chat.postMessage":
            self._number += 1
            ts = f"1773456000.{self._number:06d}"
            self.messages[ts] = body
            return {"ok": True, "channel": "C0INCIDENTS", "ts": ts}
        if method == "chat.update":
            if body["ts"] not in self.messages:
                return {"ok": False, "error": "message_not_found"}
            self.messages[body["ts"]] = {**self.messages[body["ts"]], **body}
            return {"ok": True, "channel": body["channel"], "ts": body["ts"]}
        if method == "chat.postEphemeral":
            return {"ok": True, "message_ts": "1.1"}
        if method == "views.open":
            return {"ok": True, "view": {"id": "V0FORM"}}
        return {"ok": False, "error": "unknown_method"}

    def of(self, method: str) -> list[dict[str, Any]]:
        return [call.body for call in self.calls if call.method == method]

    @property
    def head(self) -> dict[str, Any]:
        """The only message that opens a thread."""
        heads = [body for body in self.messages.values() if not body.get("thread_ts")]
        assert len(heads) == 1, f"{len(heads)} threads"
        return heads[0]

    @property
    def thread(self) -> list[dict[str, Any]]:
        return [body for body in self.messages.values() if body.get("thread_ts")]


@asynccontextmanager
async def fake_slack() -> AsyncIterator[FakeSlack]:
    fake = FakeSlack()
    app = web.Application()
    app.router.add_post("/api/{method}", fake.handle)
    app.router.add_get("/link/", fake.link)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}/api/"
    try:
        yield fake
    finally:
        await runner.cleanup()


def pressed(
    user: str, action_id: str, value: str, *, thread_ts: str = "1.0", team: str = TEAM, app: str = APP
) -> dict[str, Any]:
    """The payload of somebody pressing a button."""
    return {
        "type": "block_actions",
        "user": {"id": user},
        "team": {"id": team, "domain": "cortex"},
        "api_app_id": app,
        "trigger_id": f"{next(_TRIGGERS)}.1773456000.0badc0de",
        "channel": {"id": "C0INCIDENTS"},
        "container": {"type": "message", "channel_id": "C0INCIDENTS", "thread_ts": thread_ts},
        "actions": [{"type": "button", "action_id": action_id, "value": value}],
    }


def filled(
    user: str, view: dict[str, Any] | str, reason: str | None, *, team: str = TEAM, app: str = APP
) -> dict[str, Any]:
    """The payload of somebody submitting a form that `views.open` was given."""
    opened = json.loads(view) if isinstance(view, str) else view
    return {
        "type": "view_submission",
        "user": {"id": user},
        "team": {"id": team, "domain": "cortex"},
        "api_app_id": app,
        "trigger_id": f"{next(_TRIGGERS)}.1773456000.0badc0de",
        "view": {
            **opened,
            "id": "V0FORM",
            "state": {"values": {"reason": {"text": {"type": "plain_text_input", "value": reason}}}},
        },
    }


def posted(payload: dict[str, Any]) -> bytes:
    """A payload as Slack posts it."""
    return urlencode({"payload": json.dumps(payload)}).encode()


def click(user: str, action_id: str, value: str, *, thread_ts: str = "1.0") -> bytes:
    """The body that Slack posts when somebody presses a button."""
    return posted(pressed(user, action_id, value, thread_ts=thread_ts))


def signed(body: bytes, at: float, *, secret: str = SIGNING_SECRET) -> dict[str, str]:
    """The headers that Slack adds."""
    stamp = str(int(at))
    mac = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "x-slack-request-timestamp": stamp,
        "x-slack-signature": f"v0={mac}",
        "content-type": "application/x-www-form-urlencoded",
    }
