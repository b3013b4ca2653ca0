"""Watches the approvals that wait: tells votes as they come, reminds, and tells the next level of silence.

It looks at the database only. The workflows that asked know nothing of it, so their histories do not grow,
and several watchers do no more than one: each message has a key that is queued once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from cortexops.domain.approval import ApprovalState
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.errors import CortexError, TemporaryError
from cortexops.domain.incident import Incident, Reason
from cortexops.domain.message import Message, MessageKind
from cortexops.domain.reminders import reminder, reminder_text, silence_text, silent
from cortexops.metrics import APPROVAL_NEWS
from cortexops.ports.store import ApprovalRecord
from cortexops.telemetry import get_logger

_log = get_logger(__name__)
_MOST = 500
_REMEMBERED = 5000
_PATIENCE = 30.0
"""Seconds without a look after which the watch is ill; longer when it looks more seldom."""


class WatchedStore(Protocol):
    """What is needed of the store."""

    async def approvals(
        self, *, state: ApprovalState | None = None, most: int = 100
    ) -> list[ApprovalRecord]: ...

    async def incident(self, incident_id: str) -> Incident | None: ...

    async def tell_of_approval(
        self, approval_id: str, state: ApprovalState, message: Message, entries: Sequence[AuditEntry] = ()
    ) -> bool: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class ApprovalWatch:
    """`start` it once. `every_seconds`: between two looks; `shares`: see `domain.reminders`."""

    component = "approval_watch"

    def __init__(
        self,
        store: WatchedStore,
        *,
        every_seconds: float,
        shares: tuple[float, ...],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._every = every_seconds
        self._shares = shares
        self._clock = clock
        self._told: dict[str, None] = {}
        """Keys that were queued; the database sees to it that they are queued once, this saves asking it."""
        self._running: asyncio.Task[None] | None = None
        self._looked = 0.0

    async def start(self) -> None:
        self._looked = time.monotonic()
        self._running = asyncio.create_task(self._run(), name="approval-watch")

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
            return "nobody watches the approvals"
        since = time.monotonic() - self._looked
        late = since > max(_PATIENCE, 3 * self._every)
        return f"approvals were not looked at for {since:.0f} s: nobody is reminded" if late else None

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
                self._looked = time.monotonic()
            except TemporaryError as error:
                _log.warning("approvals are not watched", problem=str(error))
            except CortexError as error:
                _log.error("watching approvals failed", problem=str(error))
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Look once at all that waits, and at what ran out lately."""
        now = self._clock()
        for record in await self._store.approvals(state=ApprovalState.PENDING, most=_MOST):
            await self._voted(record, now)
            await self._remind(record, now)
        for record in await self._store.approvals(state=ApprovalState.EXPIRED, most=_MOST):
            if silent(record.request, record.state, now):
                await self._silence(record, now)

    async def _voted(self, record: ApprovalRecord, now: datetime) -> None:
        if record.votes:
            text = f"{len(record.votes)} answered {record.request.id}"
            await self._tell(record, f"votes-{len(record.votes)}", MessageKind.APPROVAL_VOTED, text, now)

    async def _remind(self, record: ApprovalRecord, now: datetime) -> None:
        due = reminder(record.request, now, self._shares)
        if due is None:
            return
        text = reminder_text(record.request, tuple(record.votes), now)
        kind = MessageKind.APPROVAL_LAST_CALL if due.last else MessageKind.APPROVAL_REMINDER
        await self._tell(record, f"reminder-{due.number}", kind, text, now, audit=True)

    async def _silence(self, record: ApprovalRecord, now: datetime) -> None:
        text = silence_text(record.request, tuple(record.votes))
        await self._tell(record, "silence", MessageKind.APPROVAL_SILENCE, text, now, audit=True)

    async def _tell(
        self,
        record: ApprovalRecord,
        what: str,
        kind: MessageKind,
        text: str,
        now: datetime,
        *,
        audit: bool = False,
    ) -> None:
        request = record.request
        key = f"{request.id}/{what}"
        if key in self._told:
            return
        incident = await self._store.incident(request.incident_id)
        if incident is None:
            return
        message = Message(
            key=key,
            kind=kind,
            incident_id=incident.id,
            title=incident.title,
            severity=incident.severity,
            state=incident.state,
            reason=incident.reason,
            text=text,
            approval=request,
            votes=tuple(record.votes),
            at=now,
            drill=incident.drill,
        )
        entry = AuditEntry(
            chain=incident.id,
            type=AuditType.APPROVAL_REMINDED if what != "silence" else AuditType.ESCALATED,
            reason=Reason.APPROVAL_REQUESTED if what != "silence" else Reason.APPROVAL_EXPIRED,
            detail=text,
            at=now,
            data={"what": what},
            idempotency_key=key,
        )
        if await self._store.tell_of_approval(request.id, record.state, message, [entry] if audit else []):
            APPROVAL_NEWS.labels(kind=what.partition("-")[0]).inc()
        self._told[key] = None
        while len(self._told) > _REMEMBERED:
            self._told.pop(next(iter(self._told)))
