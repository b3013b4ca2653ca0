"""Memory that may come later: connects on first use, and anew after a failure, but not at every call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from cortexops.domain.case import Case, Recalled
from cortexops.domain.errors import CortexError, PermanentError, TemporaryError
from cortexops.ports.memory import Memory

_PAUSE_SECONDS = 30.0


class LateMemory(Memory):
    """`connect` makes the real one. While it cannot, every call raises `TemporaryError` at once."""

    def __init__(
        self, connect: Callable[[], Awaitable[Memory]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._made: Memory | None = None
        self._making = asyncio.Lock()
        self._not_before = -float("inf")
        self._problem = ""
        self._closed = False
        self._under_way: asyncio.Future[Memory] | None = None

    async def remember(self, case: Case) -> None:
        await (await self._memory()).remember(case)

    async def recall(self, text: str, *, cluster: str, most: int = 3) -> list[Recalled]:
        return await (await self._memory()).recall(text, cluster=cluster, most=most)

    async def health(self) -> str | None:
        """None when it answers, else what is wrong."""
        try:
            return await (await self._memory()).health()
        except CortexError as error:
            return str(error)

    async def close(self) -> None:
        self._closed = True
        async with self._making:
            if self._under_way is not None:
                with suppress(CortexError):
                    self._made = await self._under_way
                self._under_way = None
            if self._made is not None:
                await self._made.close()

    async def _memory(self) -> Memory:
        async with self._making:
            if self._closed:
                raise PermanentError("memory is closed")
            if self._made is None:
                self._made = await self._tried()
            return self._made

    async def _tried(self) -> Memory:
        left = self._not_before - self._clock()
        if left > 0:
            raise TemporaryError(self._problem, delay=timedelta(seconds=left))
        if self._under_way is None:
            self._under_way = asyncio.ensure_future(self._connect())
        try:
            made = await asyncio.shield(self._under_way)  # an impatient caller does not cut it off halfway
        except CortexError as error:
            self._problem = str(error)
            self._not_before = self._clock() + _PAUSE_SECONDS
            self._under_way = None
            raise
        self._under_way = None
        return made
