"""Cases are carried from the books to memory until it has them: memory may be away when an incident ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from activities.recall import PATIENCE_SECONDS, clean
from cortexops.domain.case import Case, completed, masked
from cortexops.domain.errors import CortexError
from cortexops.domain.outgoing import Withheld
from cortexops.metrics import CASES_WAITING, MEMORY_FAILURES
from cortexops.ports.cases import CaseStore, PendingCase
from cortexops.ports.memory import Memory
from cortexops.ports.store import IncidentStore, LedgerStore
from cortexops.telemetry import get_logger

_log = get_logger(__name__)
_AT_ONCE = 5
_LEASE = 90.0
"""Seconds: longer than all that are taken at once may need."""
_SHORTEST_WAIT, _LONGEST_WAIT = 5.0, 3600.0
_PAUSE = 30.0


class Books(CaseStore, IncidentStore, LedgerStore, Protocol):
    """Where cases wait, and what they are completed from."""


def wait_after(attempts: int) -> float:
    """Seconds until a case is tried again: doubling, an hour at most. Nothing is lost by waiting."""
    doubled: float = _SHORTEST_WAIT * 2.0 ** min(attempts - 1, 16)
    return min(doubled, _LONGEST_WAIT)


class Remembering:
    """`start` it once. `idle_seconds`: pause when nothing waits."""

    component = "remembering"

    def __init__(self, books: Books, memory: Memory, *, idle_seconds: float = 2.0) -> None:
        self._books = books
        self._memory = memory
        self._idle = idle_seconds
        self._stopping = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._stopping.clear()
        self._loop = asyncio.create_task(self._run(), name="remembering")

    async def stop(self) -> None:
        """What is in hand is finished; a case whose lease runs out comes back."""
        self._stopping.set()
        if self._loop is not None:
            await asyncio.wait([self._loop], timeout=2 * PATIENCE_SECONDS)
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    def health(self) -> str | None:
        """What is wrong, or None."""
        dead = self._loop is not None and self._loop.done() and not self._stopping.is_set()
        return "cases are no longer carried to memory" if dead else None

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pause = 0.0 if await self.round() else self._idle
            except CortexError as error:  # the books are away: nothing is taken, so nothing is lost
                _log.warning("cases cannot be read", error=str(error))
                pause = _PAUSE
            if pause:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)

    async def round(self) -> int:
        """Take what waits and carry it over. Returns how many were taken; raises when the books are away."""
        taken = await self._books.take_cases(most=_AT_ONCE, lease_seconds=_LEASE)
        for pending in taken:
            await self._carry(pending)
        CASES_WAITING.set(await self._books.cases_waiting())
        return len(taken)

    async def _carry(self, pending: PendingCase) -> None:
        if pending.case is None:
            _log.warning("a case cannot be read by this version", incident_id=pending.incident_id)
            await self._books.case_refused(pending.incident_id, "cannot be read by this version")
            return
        case = await self._completed(pending.case)
        try:
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                await self._memory.remember(masked(case, clean))
        except (CortexError, TimeoutError) as error:
            MEMORY_FAILURES.labels(operation="remember").inc()
            why = str(error) or type(error).__name__
            _log.warning("a case was not remembered", incident_id=case.incident_id, error=why)
            if isinstance(error, Withheld):
                await self._books.case_refused(case.incident_id, why)
            else:
                delay = wait_after(pending.attempts)
                await self._books.retry_case(case.incident_id, delay_seconds=delay, detail=why)
            return
        await self._books.case_remembered(case.incident_id)

    async def _completed(self, case: Case) -> Case:
        diagnosis = await self._books.diagnosis(case.incident_id)
        return completed(case, diagnosis, await self._books.rows_of(case.incident_id))
