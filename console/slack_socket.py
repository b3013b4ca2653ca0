"""Socket Mode: Slack's buttons without a public address. The console calls Slack, Slack answers over that call.

Slack knows us by the app token, and we know Slack by the TLS name of its API, which hands out the socket's
address. So payloads carry no signature; all else is checked and done as for those that come over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

import aiohttp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from console.slack import Buttons
from console.slack_guard import RequestRefused
from cortexops.domain.errors import CortexError
from cortexops.metrics import UNHEALTHY
from cortexops.settings import SlackSettings
from cortexops.telemetry import get_logger

_log = get_logger(__name__)
_PATIENCE = 30.0
"""Seconds without a connection after which everything is begun anew, the socket's address included."""


class SlackSocket:
    """`start` it once; it stays connected until `stop`. `ping_seconds`: how often the line is tried."""

    component = "slack_socket"

    def __init__(
        self,
        buttons: Buttons,
        settings: SlackSettings,
        *,
        ping_seconds: float = 5,
        patience: float = _PATIENCE,
    ) -> None:
        self._buttons = buttons
        self._settings = settings
        self._ping = ping_seconds
        self._patience = patience
        self._client: SocketModeClient | None = None
        self._running: asyncio.Task[None] | None = None
        self._well = 0.0

    async def start(self) -> None:
        self._well = time.monotonic()
        self._running = asyncio.create_task(self._run(), name="slack-socket")

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    def health(self) -> str | None:
        """What is wrong, or None."""
        if self._running is None:
            return None
        if self._running.done():
            return "nobody holds Slack's socket"
        away = time.monotonic() - self._well
        return f"Slack's socket is not connected for {away:.0f} s" if away > self._patience else None

    async def _run(self) -> None:
        while True:
            self._client = self._made()
            try:
                await self._keep(self._client)
            finally:
                await _closed(self._client)
            _log.warning("Slack's socket is begun anew")

    async def _keep(self, client: SocketModeClient) -> None:
        """Returns when the client has not been connected for too long; a dead address is not tried for ever."""
        connecting = asyncio.create_task(client.connect())  # type: ignore[no-untyped-call]
        lost = time.monotonic()
        try:
            while time.monotonic() - lost < self._patience:
                if await client.is_connected():
                    lost = self._well = time.monotonic()
                UNHEALTHY.labels(component=self.component).set(self.health() is not None)
                await asyncio.sleep(min(1.0, self._ping))
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)

    def _made(self) -> SocketModeClient:
        token = self._settings.app_token
        assert token is not None
        client = SocketModeClient(
            token.get_secret_value(),
            logger=logging.getLogger("slack_sdk.socket_mode"),
            web_client=AsyncWebClient(base_url=self._settings.api_url, timeout=10, retry_handlers=[]),
            ping_interval=self._ping,
        )
        client.socket_mode_request_listeners.append(self._received)
        return client

    async def _received(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        """Handle and acknowledge. Slack delivers again what is not acknowledged, so a refusal is, too."""
        answer: dict[str, Any] | None = None
        if request.type == "interactive":
            try:
                if await self._buttons.guard.admit(request.envelope_id, request.payload):
                    answer = await self._buttons.handle(request.payload, "slack_socket")
            except RequestRefused as refused:
                _log.warning("a payload of Slack's socket was refused", reason=refused.refusal.value)
            except CortexError as error:  # not acknowledged: Slack tells the person that it did not work
                _log.warning("a payload of Slack's socket was not taken", problem=str(error))
                return
        response = SocketModeResponse(
            request.envelope_id, answer if request.accepts_response_payload else None
        )
        try:
            await client.send_socket_mode_response(response)
        except (aiohttp.ClientError, ConnectionError) as error:
            _log.warning("Slack was not answered", error=type(error).__name__)


async def _closed(client: SocketModeClient) -> None:
    """Close it and see its tasks end; the library only asks them to."""
    tasks = [client.message_processor, client.current_session_monitor, client.message_receiver]
    with suppress(aiohttp.ClientError, OSError):
        await client.close()  # type: ignore[no-untyped-call]
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
