"""How many remediations run at once, who waits, and that no object is mended by two incidents at a time.

An incident takes a slot when policy has allowed a change: `asking` while people are asked (it locks the
object), `running` when it may act (it counts against the limit), `waiting` while there is no room. A slot
is free again when its incident has ended, or when its lease is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, Field

from cortexops.domain.resource import Frozen

RULE = "limits"
"""The rule that refusals by a limit name."""
LOOK_AGAIN = timedelta(seconds=30)
"""Who waits asks again after this."""
_WAITING_LEASE = timedelta(seconds=180)
"""Who has not asked for so long waits no more: its process may be gone."""
_GRACE = timedelta(seconds=600)
"""Verification and undo may go on so long after the time of the incident is over."""


class RemediationLimits(Frozen):
    at_once: int = Field(default=3, ge=1)
    queued: int = Field(default=10, ge=0)
    incident_seconds: float = Field(default=1800, gt=0)

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.incident_seconds) + _GRACE


class Phase(StrEnum):
    WAITING = "waiting"
    ASKING = "asking"
    RUNNING = "running"


class Slot(Frozen):
    """What one incident holds, or waits for. `since`: when it was first let in."""

    incident_id: str
    target: str
    """Key of the object."""
    phase: Phase
    wants: Phase
    queued_at: AwareDatetime
    since: AwareDatetime | None = None
    expires_at: AwareDatetime

    @property
    def held(self) -> bool:
        return self.phase is not Phase.WAITING


class Entry(StrEnum):
    ADMITTED = "admitted"
    WAIT = "wait"
    REFUSED = "refused"


class Admission(Frozen):
    """The answer, with the slot as it is to be kept; a refused one keeps what it had."""

    entry: Entry
    at: AwareDatetime
    """When it was asked, by the clock that leases go by."""
    reason: str = ""
    """`target_locked`, `too_many_remediations`, `queue_full`, `incident_time_exhausted`."""
    detail: str = ""
    slot: Slot | None = None


def admission(
    slots: Sequence[Slot],
    incident_id: str,
    target: str,
    wants: Phase,
    limits: RemediationLimits,
    now: datetime,
) -> Admission:
    """Whether the incident may go on. `slots`: those of all incidents that have not ended, its own among them."""
    mine = next((slot for slot in slots if slot.incident_id == incident_id), None)
    others = [slot for slot in slots if slot.incident_id != incident_id and slot.expires_at > now]
    since = mine.since if mine else None
    if since is not None and now - since > timedelta(seconds=limits.incident_seconds):
        detail = f"{limits.incident_seconds:g} s for one incident are over"
        return Admission(entry=Entry.REFUSED, at=now, reason="incident_time_exhausted", detail=detail)
    queued_at = mine.queued_at if mine and mine.expires_at > now else now
    reason, detail = _obstacle(others, mine, target, wants, limits, queued_at)
    if not reason:
        slot = Slot(
            incident_id=incident_id,
            target=target,
            phase=wants,
            wants=wants,
            queued_at=queued_at,
            since=since or now,
            expires_at=now + limits.lease,
        )
        return Admission(entry=Entry.ADMITTED, at=now, slot=slot)
    if mine is not None and mine.held and mine.target == target and mine.expires_at > now:
        return Admission(
            entry=Entry.WAIT, at=now, reason=reason, detail=detail, slot=mine
        )  # keeps its lock meanwhile
    in_queue = mine is not None and mine.phase is Phase.WAITING and mine.expires_at > now
    waiting = sum(not slot.held for slot in others)
    if not in_queue and waiting >= limits.queued:
        full = f"{waiting} incidents wait already; {detail}"
        return Admission(entry=Entry.REFUSED, at=now, reason="queue_full", detail=full)
    slot = Slot(
        incident_id=incident_id,
        target=target,
        phase=Phase.WAITING,
        wants=wants,
        queued_at=queued_at,
        since=since,
        expires_at=now + _WAITING_LEASE,
    )
    return Admission(entry=Entry.WAIT, at=now, reason=reason, detail=detail, slot=slot)


def _obstacle(
    others: Sequence[Slot],
    mine: Slot | None,
    target: str,
    wants: Phase,
    limits: RemediationLimits,
    queued_at: datetime,
) -> tuple[str, str]:
    """What is in the way, if anything: the object's lock, the limit, or those who came before."""
    locked = {slot.target: slot.incident_id for slot in others if slot.held}
    if target in locked:
        return "target_locked", f"{locked[target]} works on the same object"
    if wants is not Phase.RUNNING or (mine is not None and mine.phase is Phase.RUNNING):
        return "", ""
    running = sum(slot.phase is Phase.RUNNING for slot in others)
    before = [
        slot
        for slot in others
        if not slot.held
        and slot.wants is Phase.RUNNING
        and slot.target not in locked
        and (slot.queued_at, slot.incident_id) < (queued_at, mine.incident_id if mine else "~")
    ]
    first = next((slot for slot in before if slot.target == target), None)
    if first is not None:
        return "target_locked", f"{first.incident_id} came first for the same object"
    if running + len(before) >= limits.at_once:
        ahead = f", {len(before)} wait before it" if before else ""
        return "too_many_remediations", f"{running} of {limits.at_once} remediations run{ahead}"
    return "", ""
