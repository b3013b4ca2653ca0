"""The outbox is emptied: every message is carried to each notifier until it is delivered or refused.

Each notifier has a loop of its own, so that one that hangs holds up no other. What is not delivered stays
in the outbox and comes back; a process that dies meanwhile loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from activities.notifiers import Notifier
from cortexops.domain.errors import CortexError, TemporaryError
from cortexops.domain.message import Delivered
from cortexops.domain.message import Delivery as Result
from cortexops.metrics import NOTIFICATIONS_FAILED, OUTBOX_WAITING
from cortexops.ports.store import Outbox, PendingMessage
from cortexops.telemetry import get_logger

_log = get_logger(__name__)
_LEASE = 60.0
_LONGEST_BACK_OFF = 300.0
_LONGEST_PAUSE = 30.0


def back_off(attempts: int, asked: float) -> float:
    """Seconds until the next try: at least what the service asked for, doubling with every failure."""
    doubled: float = min(2.0 ** min(attempts, 16), _LONGEST_BACK_OFF)
    return max(asked, doubled)


class Delivery:
    """`start` it once; `stop` finishes what is being sent. `idle_seconds`: pause when nothing waits."""

    component = "delivery"

    def __init__(
        self, store: Outbox, notifiers: Mapping[str, Notifier], *, idle_seconds: float = 1.0
    ) -> None:
        self._store = store
        self._notifiers = dict(notifiers)
        self._idle = idle_seconds
        self._stopping = asyncio.Event()
        self._loops: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        self._stopping.clear()
        for name, notifier in self._notifiers.items():
            self._loops[name] = asyncio.create_task(self._run(name, notifier), name=f"delivery-{name}")

    async def stop(self, *, patience_seconds: float = 10.0) -> None:
        """Stop taking; what is in hand is finished, or given up after `patience_seconds` (its lease ends)."""
        self._stopping.set()
        loops = list(self._loops.values())
        if loops:
            await asyncio.wait(loops, timeout=patience_seconds)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        self._loops.clear()
        await asyncio.gather(*(notifier.close() for notifier in self._notifiers.values()))

    def health(self) -> str | None:
        """What is wrong, or None."""
        dead = sorted(name for name, loop in self._loops.items() if loop.done())
        return f"delivery has stopped: {', '.join(dead)}" if dead and not self._stopping.is_set() else None

    async def _run(self, name: str, notifier: Notifier) -> None:
        while not self._stopping.is_set():
            try:
                pause = await self._round(name, notifier)
            except TemporaryError as error:
                _log.warning("the outbox cannot be read", notifier=name, error=str(error))
                pause = max(error.delay.total_seconds(), self._idle)
            except CortexError as error:
                _log.error("the outbox failed", notifier=name, error=str(error))
                pause = _LONGEST_PAUSE
            if pause:
                await self._sleep(pause)

    async def _round(self, name: str, notifier: Notifier) -> float:
        """Take and send what waits. Returns for how many seconds to rest."""
        taken = await self._store.take([name], most=20, lease_seconds=_LEASE)
        OUTBOX_WAITING.set(await self._store.waiting())
        if not taken:
            return self._idle
        # A notifier's defect must not stop the loop: it comes back as a value and refuses its message.
        results = await asyncio.gather(
            *(notifier.send(pending.message, pending.thread) for pending in taken), return_exceptions=True
        )
        pause = 0.0
        for pending, result in zip(taken, results, strict=True):
            pause = max(pause, await self._book(name, pending, result))
        OUTBOX_WAITING.set(await self._store.waiting())
        return min(pause, _LONGEST_PAUSE)

    async def _book(self, name: str, pending: PendingMessage, result: Delivered | BaseException) -> float:
        """Write down what became of it. Returns how long this notifier should be left alone."""
        if isinstance(result, BaseException):
            if not isinstance(result, Exception):
                raise result
            kind = type(result).__name__
            result = Delivered(result=Result.REFUSED, detail=f"defect in the notifier: {kind}")
        if result.result is Result.SENT:
            await self._store.delivered(pending.id, result.reference)
            return 0.0
        NOTIFICATIONS_FAILED.labels(notifier=name).inc()
        _log.warning(
            "a message was not delivered",
            notifier=name,
            incident_id=pending.message.incident_id,
            result=result.result.value,
            detail=result.detail,
        )
        if result.result is Result.REFUSED:
            await self._store.refused(pending.id, result.detail)
            return 0.0
        delay = back_off(pending.attempts, result.retry_seconds)
        await self._store.retry(pending.id, delay_seconds=delay, detail=result.detail)
        return result.retry_seconds

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            pass
