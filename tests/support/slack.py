"""Slack at the wire: an HTTP server that keeps messages as Slack does and can fail, throttle and hang."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
BOT_TOKEN = "xoxb-not-a-real-one"


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
        if token != BOT_TOKEN:
            return web.json_response({"ok": False, "error": "invalid_auth"})
        return web.json_response(self._answer(method, body))

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


def click(user: str, action_id: str, value: str, *, thread_ts: str = "1.0") -> bytes:
    """The body that Slack posts when somebody presses a button."""
    payload = {
        "type": "block_actions",
        "user": {"id": user},
        "channel": {"id": "C0INCIDENTS"},
        "container": {"type": "message", "channel_id": "C0INCIDENTS", "thread_ts": thread_ts},
        "actions": [{"type": "button", "action_id": action_id, "value": value}],
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(body: bytes, at: float, *, secret: str = SIGNING_SECRET) -> dict[str, str]:
    """The headers that Slack adds."""
    stamp = str(int(at))
    mac = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "x-slack-request-timestamp": stamp,
        "x-slack-signature": f"v0={mac}",
        "content-type": "application/x-www-form-urlencoded",
    }
