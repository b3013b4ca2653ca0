"""What the sweeper needs of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
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


class SweepStore(Store, Protocol):
    """The books as the sweeper uses them. Its writing methods are idempotent."""

    def unfinished_incidents(self) -> AsyncIterator[Unfinished]:
        """Incidents that are open, or ended with changes unsettled or approvals pending; oldest first."""
        ...

    async def run_is_known(self, key: str, run_id: str) -> bool:
        """Whether some incident was opened by this workflow run."""
        ...

    async def unswept(self, incident_id: str) -> Sequence[LedgerRow]:
        """Its rows in intent or applied that nobody has been told of."""
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
