"""Signals on their way from one watcher into the stream: each once, and none skipped while the bus is away."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from cortexops.domain.errors import TemporaryError
from cortexops.domain.signal import Signal
from cortexops.ports.bus import SignalSink
from ingest.accept import accept

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_AT_ONCE = 500
REMEMBERED = 20_000
"""Ids of what was sent; what is repeated after that many others is a duplicate to the correlator."""


class Outbox:
    """Shared by the tasks of one watcher. `problem` says why nothing goes out just now."""

    def __init__(self, bus: SignalSink, remembered: int = REMEMBERED) -> None:
        self._bus = bus
        self._remembered = remembered
        self._sent: OrderedDict[str, None] = OrderedDict()
        self.problem: str | None = None

    async def send(self, signals: Iterable[Signal]) -> None:
        """Publish those that were not sent yet; returns once the stream has them.

        Waits as long as the bus is away. Raises `PermanentError` when it refuses them: nothing counts as
        sent then.
        """
        fresh: list[Signal] = []
        for signal in signals:
            if signal.id not in self._sent:
                self._sent[signal.id] = None  # at once: another task may see the same trouble meanwhile
                fresh.append(signal)
        done = 0
        try:
            while done < len(fresh):
                await self._publish(fresh[done : done + _AT_ONCE])
                done += _AT_ONCE
        finally:
            for signal in fresh[done:]:
                self._sent.pop(signal.id, None)
        while len(self._sent) > self._remembered:
            self._sent.popitem(last=False)

    async def _publish(self, signals: list[Signal]) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await accept(self._bus, signals)
                break
            except TemporaryError as error:
                self.problem = f"bus: {error}"
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        self.problem = None
