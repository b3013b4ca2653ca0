"""The last look before a change is sent: has somebody stopped it, does the trouble last, is it its turn?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from cortexops.domain.action import Action
from cortexops.domain.errors import CortexError, TemporaryError
from cortexops.domain.firing import MOST_TOLD, all_resolved
from cortexops.domain.limits import RULE, Entry, Phase, RemediationLimits
from cortexops.domain.signal import Signal
from cortexops.domain.switch import UNREADABLE, stopping
from cortexops.ports.store import MOST_SIGNALS
from cortexops.ports.switches import HistoryStore, SlotStore, SwitchStore

_AGAIN = timedelta(seconds=5)
"""An approved change that must wait for its turn is tried again after this."""


class SignalStore(Protocol):
    """What was reported of an incident."""

    async def signals_of(self, incident_id: str) -> list[Signal]:
        """Those it was opened with and those that joined it, at most `MOST_SIGNALS`."""
        ...


class GuardStore(SwitchStore, SlotStore, HistoryStore, SignalStore, Protocol):
    """What the guards need of the store."""


def utc_now() -> datetime:
    return datetime.now(UTC)


async def stopped(store: SwitchStore, action: Action, now: datetime | None = None) -> str | None:
    """Why the change must not be sent, or None. Asked immediately before each writing call, never cached.

    Stops that cannot be read stop everything; this never raises."""
    at = now or utc_now()
    try:
        found = stopping(await store.stops_in_force(at), action)
    except CortexError as error:
        return f"{UNREADABLE}: whether it is stopped cannot be told, so it is ({error})"
    return f"stopped: {found[0]}" if found else None


async def over(store: SignalStore, incident_id: str) -> str | None:
    """Why nothing is left to mend, or None. Approvals and turns are waited for: meanwhile all that fired may
    have stopped. Of a storm that the books do not know whole it cannot be told, and the change is made."""
    signals = await store.signals_of(incident_id)
    series = {signal.fingerprint for signal in signals}
    if len(signals) >= MOST_SIGNALS or len(series) >= MOST_TOLD or not all_resolved(signals):
        return None
    return "all signals have stopped firing since the change was decided on"


async def admitted(
    store: SlotStore, incident_id: str, action: Action, limits: RemediationLimits
) -> str | None:
    """None when this incident may act on the object now; else why it may not at all (`limits: …`).

    Raises `TemporaryError` while others are before it: the activity is tried again."""
    found = await store.admit(incident_id, action.target.key, Phase.RUNNING, limits)
    if found.entry is Entry.WAIT:
        raise TemporaryError(f"{found.reason}: {found.detail}", delay=_AGAIN)
    return f"{RULE}: {found.reason}: {found.detail}" if found.entry is Entry.REFUSED else None


async def outdated(store: HistoryStore, revision: str) -> str | None:
    """Why the decision no longer stands, or None: another revision of the policy decides by now.

    Where no revision was noted yet nobody can have changed it."""
    current = await store.revisions()
    if not current or revision in current.values():
        return None
    now = ", ".join(f"{engine} decides by revision {of[:12]}" for engine, of in sorted(current.items()))
    return (
        f"the policy changed since the decision: it was made by revision {revision[:12] or 'unknown'}, {now}"
    )
