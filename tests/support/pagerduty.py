"""PagerDuty's Events API v2 at the wire: keeps alerts by their key as PagerDuty does; fails, throttles, hangs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ROUTING_KEY = "r0utingkeynotarealone00000000000"
_SEVERITIES = {"critical", "error", "warning", "info"}


@dataclass
class FakePagerDuty:
    """`failures` are answered first, one a call, as HTTP statuses. `alerts`: dedup_key → how it stands."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    alerts: dict[str, str] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    retry_after: str = "7"
    hang_seconds: float = 0.0
    keys: set[str] = field(default_factory=lambda: {ROUTING_KEY})

    async def enqueue(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = json.loads(await request.text())
        if self.hang_seconds:
            await asyncio.sleep(self.hang_seconds)
        if self.failures:
            status = self.failures.pop(0)
            headers = {"Retry-After": self.retry_after} if status == 429 else {}
            # what a careless proxy does: it sends back what it was sent
            return web.json_response({"status": "error", "echo": body}, status=status, headers=headers)
        wrong = self._wrong(body)
        if wrong:
            return web.json_response({"status": "invalid event", "errors": wrong}, status=400)
        self.events.append(body)
        states = {"trigger": "triggered", "acknowledge": "acknowledged", "resolve": "resolved"}
        if body["event_action"] == "trigger" or body["dedup_key"] in self.alerts:
            self.alerts[body["dedup_key"]] = states[body["event_action"]]
        return web.json_response(
            {"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]}, status=202
        )

    def _wrong(self, body: dict[str, Any]) -> list[str]:
        wrong = []
        if body.get("routing_key") not in self.keys:
            wrong.append("routing_key is not known")
        if body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
            wrong.append("event_action")
        if not 0 < len(str(body.get("dedup_key", ""))) <= 255:
            wrong.append("dedup_key")
        payload = body.get("payload")
        if body.get("event_action") == "trigger" and (
            not isinstance(payload, dict)
            or not 0 < len(payload.get("summary", "")) <= 1024
            or not payload.get("source")
            or payload.get("severity") not in _SEVERITIES
        ):
            wrong.append("payload")
        return wrong

    @property
    def actions(self) -> list[str]:
        return [event["event_action"] for event in self.events]


@asynccontextmanager
async def fake_pagerduty() -> AsyncIterator[FakePagerDuty]:
    fake = FakePagerDuty()
    app = web.Application()
    app.router.add_post("/v2/enqueue", fake.enqueue)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        await runner.cleanup()
