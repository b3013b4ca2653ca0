"""Telemetry backends beside the API server: one GET with a query, bounded in time and bytes."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from cortexops.domain.errors import Forbidden, InvalidInput, TemporaryError
from cortexops.domain.resource import JSON

_SECONDS = 5.0
_MOST_BYTES = 2_097_152


class HttpBackend:
    """One server, by its base address; user and password may stand in it, and are never repeated in errors."""

    def __init__(self, name: str, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(name, "must be an http or https address")
        self._name = name
        self._url = url.rstrip("/")

    @property
    def name(self) -> str:
        return self._name

    async def get(self, path: str, query: dict[str, str]) -> JSON:
        """The decoded answer. Raises `Forbidden`, `InvalidInput` (the query) or `TemporaryError`."""
        try:
            async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as client:
                async with client.stream("GET", self._url + path, params=query) as response:
                    read = bytearray()
                    async for chunk in response.aiter_bytes():
                        read += chunk
                        if len(read) > _MOST_BYTES:
                            raise TemporaryError(
                                f"{self.name} answered with too much", delay=timedelta(seconds=30)
                            )
        except httpx.HTTPError as error:
            raise TemporaryError(
                f"{self.name} cannot be reached ({type(error).__name__})", delay=timedelta(seconds=5)
            ) from None
        if response.status_code in (401, 403):
            raise Forbidden(
                f"{self.name} refuses ({response.status_code})",
                verb="query",
                resource=self.name,
                namespace="",
            )
        if response.status_code >= 500 or response.status_code == 429:
            raise TemporaryError(f"{self.name} answers {response.status_code}", delay=timedelta(seconds=5))
        if response.status_code >= 400:
            raise InvalidInput(self.name, f"answers {response.status_code} to the query")
        return self._decoded(bytes(read))

    def _decoded(self, raw: bytes) -> JSON:
        try:
            found: Any = json.loads(raw)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TemporaryError(f"{self.name}'s answer is not a JSON object", delay=timedelta(seconds=30))
        return found


def backends(*, prometheus: str | None = None, loki: str | None = None) -> dict[str, HttpBackend]:
    """Those that are given. Raises `InvalidInput` for an address that is none."""
    given = {"prometheus": prometheus, "loki": loki}
    return {name: HttpBackend(name, url) for name, url in given.items() if url}
