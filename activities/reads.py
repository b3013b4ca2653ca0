"""Reads of one cluster: each sent once, and nothing waited for twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from cortexops.domain.errors import NoAnswer, TemporaryError
from cortexops.domain.known_secrets import KnownSecrets
from cortexops.domain.resource import JSON
from cortexops.ports.cluster import ReadableCluster

_SILENT_PODS = 2

T = TypeVar("T")


class Backend(Protocol):
    """A telemetry server beside the API server, such as Prometheus."""

    @property
    def name(self) -> str: ...

    async def get(self, path: str, query: dict[str, str]) -> JSON:
        """The decoded answer. Raises `Forbidden`, `InvalidInput` or `TemporaryError`."""
        ...


class Reads:
    """Reads of one cluster, each sent once however many ask for it. Shared by investigations of one alert.

    `backends` are further servers by name (`prometheus`, `loki`); collectors of an absent one do nothing.
    """

    def __init__(self, cluster: ReadableCluster, backends: Mapping[str, Backend] | None = None) -> None:
        self.cluster = cluster
        self.backends = dict(backends or {})
        self.secrets = KnownSecrets()
        """Secrets that were read or seen, in memory as long as these reads."""
        self._pending: dict[tuple[str, ...], asyncio.Task[Any]] = {}
        self._silent: dict[str, set[str]] = {}  # what got no answer in time: sort of read → its objects

    async def once(self, key: tuple[str, ...], call: Callable[[], Awaitable[T]]) -> T:
        """The answer to this call, from the one request that is sent for it."""

        async def run() -> T:
            self._refuse_if_silent(key)
            try:
                return await call()
            except NoAnswer:
                self._silent.setdefault(key[0], set()).add(key[1])
                raise

        if key not in self._pending:
            self._pending[key] = asyncio.create_task(run())
        # shielded: one asker's time running out must not take the answer from the others
        found: T = await asyncio.shield(self._pending[key])
        return found

    def _refuse_if_silent(self, key: tuple[str, ...]) -> None:
        """One wait for a kind is enough; logs hang with a pod's node, so those of two pods are waited for."""
        silent = self._silent.get(key[0], set())
        if key[1] in silent or (key[0] == "log" and len(silent) >= _SILENT_PODS):
            raise TemporaryError(f"{key[0]} was not asked for: the like got no answer in time before")

    async def close(self) -> None:
        """End what is still under way and take note of every outcome."""
        for task in self._pending.values():
            task.cancel()
        await asyncio.gather(*self._pending.values(), return_exceptions=True)
        self._pending.clear()
