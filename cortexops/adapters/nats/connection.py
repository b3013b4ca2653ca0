"""One connection to NATS that comes back by itself, and the streams on it.

While it is away, publishing fails at once (senders try again) and reading returns nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from cortexops.adapters.nats import streams
from cortexops.domain.errors import InvalidInput, TemporaryError
from cortexops.settings_ingest import NatsSettings
from cortexops.telemetry import get_logger

_CONNECT_TIMEOUT = 4.0
_RECONNECT_WAIT = 0.25
CLIENT_ERRORS = (TimeoutError, NatsError, OSError)

_log = get_logger(__name__)


class Connection:
    """What publishers and readers share."""

    def __init__(self, settings: NatsSettings) -> None:
        self.settings = settings
        self.client = Client()
        self.lost: list[Callable[[], None]] = []
        """Called when the connection breaks."""
        self.back: list[Callable[[], None]] = []
        """Called when it is there again: the server may have come back without what we made there."""
        self._ready = False
        self._ensuring = asyncio.Lock()
        self._closing = False

    async def open(self) -> None:
        """Raises `TemporaryError` when NATS is away."""
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):  # the client itself would try for ever
                await self.client.connect(
                    servers=[url.strip() for url in self.settings.url.split(",")],
                    name="cortexops",
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT,  # type: ignore[arg-type]  # a fraction works
                    connect_timeout=2,
                    ping_interval=10,
                    pending_size=8 * 1024**2,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                )
        except CLIENT_ERRORS as error:
            await self.client.close()
            raise TemporaryError(f"NATS does not answer: {type(error).__name__}") from None

    async def close(self) -> None:
        self._closing = True
        if not self.client.is_closed:
            await self.client.close()

    def doubt(self) -> None:
        """Look at the streams again before the next use."""
        self._ready = False

    async def ensure(self) -> None:
        """The streams, once per connection. Raises `TemporaryError`, or `InvalidInput` for refused settings."""
        async with self._ensuring:
            if self._ready:
                return
            if not self.client.is_connected:
                raise TemporaryError("not connected to NATS")
            jetstream = self.client.jetstream()
            try:
                await streams.ensure(jetstream, streams.telemetry(self.settings))
                await streams.ensure(jetstream, streams.parked(self.settings))
            except APIError as error:
                if error.code is not None and 400 <= error.code < 500:
                    raise InvalidInput("nats", f"the stream is refused: {error.description}") from None
                raise TemporaryError(f"JetStream: {error.description}") from None
            except CLIENT_ERRORS as error:
                raise TemporaryError(f"JetStream does not answer: {type(error).__name__}") from None
            self._ready = True

    async def _on_error(self, error: Exception) -> None:
        _log.debug("nats client reports", error=type(error).__name__)

    async def _on_disconnected(self) -> None:
        if not self._closing:
            _log.warning("connection to NATS lost; reconnecting")
        for tell in self.lost:
            tell()

    async def _on_reconnected(self) -> None:
        _log.info("connected to NATS again")
        self._ready = False
        for tell in self.back:
            tell()
