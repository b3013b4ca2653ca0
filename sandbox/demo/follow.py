"""Following one incident from its first event to its end, and answering its approval."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import httpx

from cortexops.domain.approval import ApprovalState
from cortexops.domain.audit import AuditEvent
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.incident import Incident
from cortexops.ports.store import ApprovalRecord, Store

_LOOK = 0.2


class Follower:
    """Reads the store as the console does. `tell` gets each recorded event once, in order."""

    def __init__(self, store: Store, tell: Callable[[Incident, AuditEvent], None]) -> None:
        self._store = store
        self._tell = tell

    async def find(self, namespace: str, name: str, *, since: datetime, within: float) -> Incident:
        """The incident on the object. Raises `TemporaryError` when there is none in time."""
        async with asyncio.timeout(within):
            while True:
                for incident in await self._store.incidents(most=50):
                    resource = incident.resource
                    if (resource.namespace, resource.name) == (
                        namespace,
                        name,
                    ) and incident.detected_at >= since:
                        return incident
                await asyncio.sleep(_LOOK)

    async def follow(
        self, incident: Incident, *, within: float, on_approval: Callable[[ApprovalRecord], Awaitable[None]]
    ) -> Incident:
        """Until it has ended. Raises `TemporaryError` when that takes too long."""
        told = 0
        asked: set[str] = set()
        try:
            async with asyncio.timeout(within):
                while True:
                    present = await self._store.incident(incident.id)
                    if present is None:
                        raise PermanentError(f"{incident.id} has vanished")
                    events = await self._store.events(incident.id)
                    for event in events[told:]:
                        self._tell(present, event)
                    told = len(events)
                    if present.state.final and events and events[-1].type == "postmortem":
                        return present
                    for record in await self._store.approvals(state=ApprovalState.PENDING):
                        if record.request.incident_id == incident.id and record.request.id not in asked:
                            asked.add(record.request.id)
                            await on_approval(record)
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise TemporaryError(f"{incident.id} has not ended within {within:g} s") from None


async def approve(console_url: str, token: str, record: ApprovalRecord, reason: str) -> None:
    """Approve through the console's API, as a person with a token does. Raises `PermanentError` when refused."""
    async with httpx.AsyncClient(timeout=15) as client:
        answer = await client.post(
            f"{console_url}/api/v1/approvals/{record.request.id}/approve",
            headers={"Authorization": f"Bearer {token}"},
            json={"reason": reason, "digest": record.request.digest},
        )
    if answer.is_error:
        raise PermanentError(f"the approval was refused: {answer.status_code} {answer.text[:300]}")
