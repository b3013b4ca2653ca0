"""What the sweeper needs of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from cortexops.domain.anchor import Anchor
from cortexops.domain.audit import AuditEntry
from cortexops.domain.incident import Incident
from cortexops.domain.ledger import LedgerRow
from cortexops.domain.message import Message
from cortexops.domain.sweep import Finding
from cortexops.ports.store import ApprovalRecord, Store


class Unfinished(NamedTuple):
    """An incident that has not ended, or has and left something behind: `rows` changes to look at."""

    incident: Incident
    rows: int


class Archive(Protocol):
    """A file that was written, and the last row of each chain in it."""

    @property
    def path(self) -> Path: ...
    @property
    def rows(self) -> int: ...
    @property
    def ends(self) -> Mapping[str, tuple[int, str]]: ...


class SweepStore(Store, Protocol):
    """The books as the sweeper uses them. Its writing methods are idempotent."""

    def unfinished_incidents(self) -> AsyncIterator[Unfinished]:
        """Incidents that are open, or ended with changes unsettled or approvals pending; oldest first."""
        ...

    async def run_is_known(self, key: str, run_id: str) -> bool:
        """Whether some incident was opened by this workflow run."""
        ...

    async def unswept(self, incident_id: str) -> Sequence[LedgerRow]:
        """Its rows in intent or applied that nobody has been told of, and open pull requests whose turn it is."""
        ...

    async def look_again(self, operation_id: str) -> None:
        """The pull request of that row was looked at; it is again after a while that grows with its age."""
        ...

    async def pending_approvals(self, incident_id: str) -> Sequence[ApprovalRecord]: ...

    async def sweep_row(
        self, row: LedgerRow, finding: Finding, entries: Sequence[AuditEntry], messages: Sequence[Message]
    ) -> bool:
        """Move the row on and hand it to people. False when it is not as `row` says any more: nothing is
        written then."""
        ...

    async def end_orphan(
        self,
        incident: Incident,
        entries: Sequence[AuditEntry],
        messages: Sequence[Message],
        void: Sequence[tuple[str, AuditEntry, Message]],
    ) -> bool:
        """Store the end of the incident and void those approvals, in one transaction; whether it was open."""
        ...

    async def anchor(self, now: datetime) -> list[Anchor]: ...

    async def anchored_day(self) -> date | None:
        """The newest day that has an anchor."""
        ...

    async def anchors(self, *, most: int = 100) -> list[Anchor]: ...

    async def prune(self, before: datetime, folder: Path, *, actor: str, now: datetime) -> Archive | None:
        """Move rows of incidents that ended before then into a new file; None when none is ripe.

        Raises `IntegrityError` when a chain has a fault, `PermanentError` when this login may not prune.
        """
        ...
