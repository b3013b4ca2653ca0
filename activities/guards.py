"""The last look before a change is sent: has somebody stopped it, and is it this incident's turn?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from cortexops.domain.action import Action
from cortexops.domain.errors import CortexError, TemporaryError
from cortexops.domain.limits import RULE, Entry, Phase, RemediationLimits
from cortexops.domain.switch import UNREADABLE, stopping
from cortexops.ports.switches import SlotStore, SwitchStore

_AGAIN = timedelta(seconds=5)
"""An approved change that must wait for its turn is tried again after this."""


class GuardStore(SwitchStore, SlotStore, Protocol):
    """What the guards need of the store."""


def utc_now() -> datetime:
    return datetime.now(UTC)


async def stopped(store: SwitchStore, action: Action, now: datetime | None = None) -> str | None:
    """Why the change must not be sent, or None. Asked immediately before each writing call, never cached.

    Stops that cannot be read stop everything; this never raises."""
    at = now or utc_now()
    try:
        found = stopping(await store.stops_in_force(at), action, at)
    except CortexError as error:
        return f"{UNREADABLE}: whether it is stopped cannot be told, so it is ({error})"
    return f"stopped: {found[0]}" if found else None


async def admitted(
    store: SlotStore,
    incident_id: str,
    action: Action,
    limits: RemediationLimits,
    now: datetime | None = None,
) -> str | None:
    """None when this incident may act on the object now; else why it may not at all (`limits: …`).

    Raises `TemporaryError` while others are before it: the activity is tried again."""
    found = await store.admit(incident_id, action.target.key, Phase.RUNNING, limits, now or utc_now())
    if found.entry is Entry.WAIT:
        raise TemporaryError(f"{found.reason}: {found.detail}", delay=_AGAIN)
    return f"{RULE}: {found.reason}: {found.detail}" if found.entry is Entry.REFUSED else None
