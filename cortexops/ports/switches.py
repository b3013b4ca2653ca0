"""The controls that people hold over automation, and what automation has achieved: kept in the database.

Raises `TemporaryError` when the database cannot be reached: callers then do nothing to a cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from cortexops.domain.audit import AuditEntry, AuditEvent
from cortexops.domain.autonomy import Outcome, Override
from cortexops.domain.limits import Admission, Phase, RemediationLimits, Slot
from cortexops.domain.switch import Stop


class SwitchStore(Protocol):
    """The kill switch."""

    async def add_stop(self, stop: Stop, entry: AuditEntry) -> None: ...

    async def resume_stop(self, stop_id: str, by: str, at: datetime, entry: AuditEntry) -> Stop:
        """Raises `NotFound`. Resuming twice changes nothing."""
        ...

    async def stops(self, *, ended: bool = False, most: int = 200) -> Sequence[Stop]:
        """Newest first; with `ended` also those that stop nothing any more."""
        ...

    async def stops_in_force(self, now: datetime) -> Sequence[Stop]:
        """Those that nobody took back and whose end has come by neither clock, `now` of whoever asks and the
        store's own: one that is ahead must not end a stop early."""
        ...


class AutonomyStore(Protocol):
    """Levels that people set."""

    async def set_override(self, override: Override, entry: AuditEntry) -> None: ...

    async def clear_override(self, override_id: str, at: datetime, entry: AuditEntry) -> Override:
        """Raises `NotFound`. Clearing twice changes nothing."""
        ...

    async def overrides(self, *, ended: bool = False, most: int = 500) -> Sequence[Override]: ...


class HistoryStore(Protocol):
    """What was decided and what became of it."""

    async def outcomes(
        self,
        since: datetime,
        *,
        cluster: str | None = None,
        namespace: str | None = None,
        action: str | None = None,
    ) -> Sequence[Outcome]:
        """Changes that were made and settled from then on, oldest first; drills left out."""
        ...

    def decisions(self, since: datetime, *, incident: str = "") -> AsyncIterator[AuditEvent]:
        """Policy decisions recorded from then on, oldest first."""
        ...

    async def note_revision(self, engine: str, revision: str, entry: AuditEntry) -> bool:
        """Keep under which revision this engine decides; the entry is recorded when it is another one."""
        ...

    async def revisions(self) -> Mapping[str, str]:
        """Engine → the revision under which it decides now, as far as it was noted."""
        ...


class SlotStore(Protocol):
    """Who may remediate at the same time."""

    async def admit(
        self, incident_id: str, target: str, wants: Phase, limits: RemediationLimits
    ) -> Admission:
        """Take a slot, wait for one, or be refused. One caller at a time in all processes.

        Leases go by the store's own clock: a process whose clock is wrong neither takes a slot from another nor
        keeps one for longer."""
        ...

    async def slots(self) -> Sequence[Slot]:
        """Those of incidents that have not ended."""
        ...


class ControlStore(SwitchStore, AutonomyStore, HistoryStore, SlotStore, Protocol):
    """All of it."""
