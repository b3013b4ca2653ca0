"""A work queue for level-triggered loops: each key is worked on once at a time, repeats are folded."""

from __future__ import annotations

import asyncio
from collections import deque

_FIRST_RETRY = 0.05
_LONGEST_RETRY = 5.0


class WorkQueue:
    """Keys to look at. A key added while somebody works on it comes back after `done`."""

    def __init__(self) -> None:
        self._order: deque[str] = deque()
        self._waiting: set[str] = set()
        self._working: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()

    def add(self, key: str) -> None:
        """Look at `key` soon."""
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._working:
            self._order.append(key)
            self._filled.set()

    def add_after(self, key: str, seconds: float) -> None:
        """Look at `key` in so many seconds of wall clock, or earlier if that was asked before."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        due = loop.time() + seconds
        if timer is not None:
            if timer.when() <= due and not timer.cancelled():
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._fire, key)

    def add_failed(self, key: str) -> None:
        """Try `key` again with growing delays."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(_LONGEST_RETRY, _FIRST_RETRY * 2**failures))

    def forget(self, key: str) -> None:
        """The last attempt at `key` went well."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """The next key; call `done` when finished with it."""
        while not self._order:
            self._filled.clear()
            await self._filled.wait()
        key = self._order.popleft()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        """Finished with `key`."""
        self._working.discard(key)
        if key in self._waiting:
            self._order.append(key)
            self._filled.set()

    def close(self) -> None:
        """Cancel the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _fire(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)
