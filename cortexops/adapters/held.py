"""Silences as people add and lift them, and the incidents that they hold or that went into others.

A silence is written together with the audit event that says who did it. After one was lifted the
workflows of held incidents are told to look again; one that cannot be told looks when its time is up.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cortexops.contracts.incident import LOOK_AGAIN
from cortexops.domain.audit import PLATFORM, AuditEntry, AuditType
from cortexops.domain.errors import TemporaryError
from cortexops.domain.incident import Incident
from cortexops.domain.silence import Silence, check_silence, shown
from cortexops.telemetry import get_logger

ADDED, LIFTED = "silence_added", "silence_lifted"
_log = get_logger(__name__)
_PAGE = 500
_AT_ONCE = 8
_ONE = timedelta(seconds=5)
_ALL = 20.0
"""Seconds that all of it may take: a person waits for the answer."""


class HeldStore(Protocol):
    """What is needed of the store."""

    async def add_silence(self, silence: Silence, entry: AuditEntry) -> None: ...

    async def lift_silence(self, silence_id: str, at: datetime, entry: AuditEntry) -> Silence: ...

    async def incidents(
        self, *, open_only: bool = False, most: int = 100, before: datetime | None = None
    ) -> list[Incident]: ...


class Lifted(NamedTuple):
    """A silence that holds nothing any more, and whether everything that was held knows of it."""

    silence: Silence
    told: int
    """How many incidents' workflows were told."""
    complete: bool
    """False when some could not be told; lifting again tells them."""


def new_id() -> str:
    """An id of its own: the same silence may be wanted again after it was lifted."""
    return f"silence-{secrets.token_hex(5)}"


class Silencing:
    """Adds and lifts silences. `connect` gives the Temporal client and is asked only when one was lifted.
    `pause_seconds` pass before those that are still held are told once more."""

    def __init__(
        self, store: HeldStore, connect: Callable[[], Awaitable[Client]], *, pause_seconds: float = 2.0
    ) -> None:
        self._store = store
        self._connect = connect
        self._pause = pause_seconds

    async def add(self, silence: Silence, now: datetime, *, via: str) -> Silence:
        """Keep it, with the audit event of `created_by`. Raises `InvalidInput`, `TemporaryError`."""
        check_silence(silence, now)
        given = shown(silence)
        detail = f"{silence.kind} {silence.id} on {given['matches']} until {given['until']}: {silence.reason}"
        data: dict[str, Any] = {"via": via, "silence": silence.model_dump(mode="json")}
        await self._store.add_silence(
            silence, _entry(silence.id, ADDED, detail, silence.created_by, now, data)
        )
        return silence

    async def lift(self, silence_id: str, actor: str, now: datetime, *, via: str) -> Lifted:
        """End it now, and tell what was held. Lifting twice only tells again. Raises `NotFound`,
        `TemporaryError`; never because a workflow could not be told."""
        entry = _entry(
            silence_id, LIFTED, f"{silence_id} was lifted", actor, now, {"via": via, "silence": silence_id}
        )
        silence = await self._store.lift_silence(silence_id, now, entry)
        told, complete = await self._look_again()
        return Lifted(silence, told, complete)

    async def _look_again(self) -> tuple[int, bool]:
        """Twice: a workflow that was just being held when the silence was lifted shows it in the books only a
        moment later, and forgets what it was told while it still asked."""
        done: dict[str, bool | None] = {}
        try:
            async with asyncio.timeout(_ALL):
                await self._tell_held(done)
                await asyncio.sleep(self._pause)
                await self._tell_held(done)
        except TimeoutError:
            _log.error(
                "not all held incidents were told in time that a silence was lifted", told=_count(done)
            )
            return _count(done), False
        except TemporaryError as error:
            _log.error("held incidents were not told that a silence was lifted", error=str(error))
            return _count(done), False
        return _count(done), False not in done.values()

    async def _tell_held(self, done: dict[str, bool | None]) -> None:
        held = await self._held()
        if not held:
            return
        client = await self._connect()
        gate = asyncio.Semaphore(_AT_ONCE)

        async def tell(incident: Incident) -> None:
            async with gate:
                told = await _tell(client, incident)
                done[incident.id] = True if done.get(incident.id) and told is None else told

        await asyncio.gather(*(tell(incident) for incident in held))

    async def _held(self) -> Sequence[Incident]:
        """All open incidents that something holds."""
        found: dict[str, Incident] = {}
        before: datetime | None = None
        while True:
            page = await self._store.incidents(open_only=True, most=_PAGE, before=before)
            fresh = [incident for incident in page if incident.id not in found]
            found.update((incident.id, incident) for incident in fresh)
            if not fresh or len(page) < _PAGE:
                return [incident for incident in found.values() if incident.held_until is not None]
            # Incidents of the very same microsecond may stand on both sides of the page's edge.
            before = page[-1].detected_at + timedelta(microseconds=1)


def _count(done: dict[str, bool | None]) -> int:
    return sum(1 for told in done.values() if told)


async def _tell(client: Client, incident: Incident) -> bool | None:
    """Whether it was told; None when its workflow has ended and nothing of it is held."""
    handle = client.get_workflow_handle(incident.key, run_id=incident.run_id or None)
    try:
        await handle.signal(LOOK_AGAIN, rpc_timeout=_ONE)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        _log.error("a held incident was not told", incident=incident.id, error=error.message)
        return False
    return True


def _entry(
    silence_id: str, reason: str, detail: str, actor: str, now: datetime, data: dict[str, Any]
) -> AuditEntry:
    return AuditEntry(
        chain=PLATFORM,
        type=AuditType.ACTION_EXECUTED,
        reason=reason,
        detail=detail,
        actor=actor,
        at=now,
        data=data,
        idempotency_key=f"{silence_id}:{reason}",
    )


async def went_into(store: HeldStore, merged: Incident) -> str:
    """Id of the incident that a merged one is part of now: the first of that key which went on after it.
    Empty when it went nowhere, or when that one is not among the newest."""
    if not merged.merged_into:
        return ""
    later = [
        incident
        for incident in await store.incidents(most=_PAGE)
        if incident.key == merged.merged_into
        and (incident.ended_at is None or merged.ended_at is None or incident.ended_at >= merged.ended_at)
    ]
    return later[-1].id if later else ""
