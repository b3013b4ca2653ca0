"""Which group versions an API server has, as far as it says."""

from __future__ import annotations

import asyncio

from cortexops.adapters.kubernetes_errors import Target
from cortexops.adapters.kubernetes_transport import Transport, UnservedPath
from cortexops.domain.errors import CortexError
from cortexops.domain.kubernetes.values import objects, text

_SECONDS = 3.0  # what is asked next works without the answer, so nobody waits long for it
_AGAIN = 30.0  # seconds until a server that did not say is asked once more
_KEPT = 600.0  # seconds that an answer is good for: add-ons come and go
_KEPT = 600.0  # seconds that an answer is good for: add-ons come and go


class Discovery:
    """Asked once and kept for a while; a server that refuses, fails or hangs counts as one that does not say."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: frozenset[str] | None = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    def forget(self) -> None:
        """Ask again when next needed."""
        self._known = None

    async def offered(self) -> frozenset[str]:
        """The group versions of the server. Empty when it will not say."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self._known is None or now > self._until:
                self._known = await self._ask()
                kept = _KEPT if self._known else _AGAIN
                self._until = asyncio.get_running_loop().time() + kept
        return self._known

    async def _ask(self) -> frozenset[str]:
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await self._transport.send_json("GET", "/apis", Target("get", "/apis"))
        except (UnservedPath, CortexError, TimeoutError):
            return frozenset()
        return frozenset(
            text(version, "groupVersion")
            for group in objects(answer, "groups")
            for version in objects(group, "versions")
        )
