"""The database: incidents, fates of signals, ledger, audit, approvals, postmortems, outbox.

Every writing method is idempotent: called twice with the same arguments it leaves one row. Everything
that a decision depends on is written in one transaction with the audit event that reports it.
Raises `TemporaryError` when the database cannot be reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote
from cortexops.domain.audit import AuditEntry, AuditEvent, ChainFault
from cortexops.domain.correlation import EndedIncident, Fate
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.incident import Incident, IncidentState
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.message import Message
from cortexops.domain.postmortem import Postmortem, PostmortemState
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity, Signal
from cortexops.domain.silence import Silence
from cortexops.ports.cases import CaseStore
from cortexops.ports.feedback import FeedbackStore
from cortexops.ports.partitions import PartitionStore
from cortexops.ports.replays import ReplayStore
from cortexops.ports.switches import ControlStore


class SignalRecord(NamedTuple):
    """What is known of one signal."""

    signal: Signal
    fate: Fate
    incident_key: str
    incident_id: str | None
    recorded_at: datetime


class PendingMessage(NamedTuple):
    """A message to deliver to one notifier, with the reference of the incident's thread there, if any."""

    id: int
    notifier: str
    message: Message
    thread: str
    attempts: int


MOST_SIGNALS = 1000
"""Of one incident, in `signals_of`: a storm has more than anybody reads."""


class ApprovalRecord(NamedTuple):
    request: ApprovalRequest
    state: ApprovalState
    votes: list[Vote]


class IncidentStore(Protocol):
    """Incidents and their signals."""

    async def open_incident(self, draft: Incident, signals: Sequence[Signal], entry: AuditEntry) -> Incident:
        """Give the incident of this workflow run its id (`INC-YYYYMMDD-NNN`, day of detection, one counter a
        day, never reused) and store it; a repeated call for the same (key, run_id) returns the stored one.
        The entry's chain is replaced by the new id. One `detected` message goes to the outbox, unless a
        silence holds the incident (`held_until`); `flapping` is set when it was resolved too often lately."""
        ...

    async def update_incident(
        self, incident: Incident, entries: Sequence[AuditEntry], messages: Sequence[Message] = ()
    ) -> bool:
        """Store state and audit entries and queue messages for all notifiers, in one transaction. False when
        somebody else than its workflow has ended the incident: then nothing of it is stored."""
        ...

    async def save_diagnosis(self, incident_id: str, diagnosis: Diagnosis) -> None: ...

    async def diagnosis(self, incident_id: str) -> Diagnosis | None: ...

    async def incident(self, incident_id: str) -> Incident | None: ...

    async def incidents(
        self,
        *,
        open_only: bool = False,
        states: Sequence[IncidentState] = (),
        severity: Severity | None = None,
        most: int = 100,
        before: datetime | None = None,
    ) -> list[Incident]:
        """Newest first."""
        ...

    async def last_ended(self, keys: Sequence[str]) -> dict[str, EndedIncident]:
        """The newest ended incident of each key, where there is one."""
        ...

    async def open_keys(self, keys: Sequence[str]) -> dict[str, datetime]:
        """Which of these keys have an incident that has not ended, and when it was detected."""
        ...

    async def known_signals(self, ids: Sequence[str]) -> dict[str, datetime]:
        """When each of these signals' fate was last recorded."""
        ...

    async def open_signals(self, cluster: str) -> dict[str, tuple[ResourceRef, list[str]]]:
        """Key of each open incident of a cluster → what it is about, and some of the signals (as JSON text)
        that it was opened with."""
        ...

    async def signal(self, signal_id: str) -> SignalRecord | None: ...

    async def signal_ids(self, prefix: str, most: int) -> list[str]:
        """Ids that have a fate and begin so, in order, at most so many."""
        ...

    async def signals_of(self, incident_id: str) -> list[Signal]: ...


class SilenceStore(Protocol):
    """Silences and maintenance windows."""

    async def add_silence(self, silence: Silence, entry: AuditEntry) -> None: ...

    async def lift_silence(self, silence_id: str, at: datetime, entry: AuditEntry) -> Silence: ...

    async def silences(self, *, ended: bool = False, most: int = 200) -> Sequence[Silence]:
        """Newest first; with `ended` also those that hold nothing any more."""
        ...

    async def silences_in_force(self, now: datetime) -> Sequence[Silence]: ...


class AuditStore(Protocol):
    """The chained audit trail. Rows can be added, never changed or removed."""

    async def append(self, entries: Sequence[AuditEntry]) -> list[AuditEvent]: ...

    async def events(self, chain: str) -> list[AuditEvent]:
        """One chain in order."""
        ...

    def export(self, *, after: int = 0, most: int = 10_000) -> AsyncIterator[tuple[int, AuditEvent]]:
        """(cursor, event) of all chains in order of recording, from after the cursor."""
        ...

    async def export_lag(self, after: int) -> int:
        """How many events were recorded after this cursor."""
        ...

    async def verify(self, *, chain: str | None = None) -> tuple[int, list[ChainFault]]:
        """How many events were checked, and every fault of every chain, or of this one."""
        ...


class LedgerStore(Protocol):
    async def intend(self, row: LedgerRow, entry: AuditEntry) -> LedgerRow:
        """Write the intent, or return the row that is there already."""
        ...

    async def settle(
        self, operation_id: str, state: LedgerState, detail: str, entry: AuditEntry
    ) -> LedgerRow:
        """Move a row to `state` (legal steps only) together with its audit event."""
        ...

    async def row(self, operation_id: str) -> LedgerRow | None: ...

    async def rows_of(self, incident_id: str) -> list[LedgerRow]: ...

    async def verified_changes(self, target: ResourceRef, *, most: int = 20) -> list[LedgerRow]:
        """Of this object, newest first."""
        ...

    async def unfinished(self) -> list[LedgerRow]:
        """Rows in INTENT or APPLIED whose incident has ended, or in UNKNOWN."""
        ...


class ApprovalStore(Protocol):
    async def request_approval(
        self, request: ApprovalRequest, entry: AuditEntry, message: Message
    ) -> None: ...

    async def record_vote(self, vote: Vote, entry: AuditEntry) -> None: ...

    async def settle_approval(
        self, approval_id: str, state: ApprovalState, entry: AuditEntry, message: Message
    ) -> None: ...

    async def approval(self, approval_id: str) -> ApprovalRecord | None: ...

    async def approvals(
        self, *, state: ApprovalState | None = None, most: int = 100
    ) -> list[ApprovalRecord]: ...


class PostmortemStore(Protocol):
    async def save_postmortem(self, postmortem: Postmortem, entry: AuditEntry) -> None:
        """Keep the first one written; a repeated call changes nothing."""
        ...

    async def advance_postmortem(
        self, postmortem_id: str, to: PostmortemState, entry: AuditEntry
    ) -> Postmortem:
        """Open → InReview → Closed. Raises `NotFound`, or `Conflict` for any other step."""
        ...

    async def postmortem(self, postmortem_id: str) -> Postmortem | None: ...

    async def postmortems(self, *, most: int = 100) -> list[Postmortem]: ...


class Outbox(Protocol):
    """Messages on their way. Who takes one holds it for a lease; undelivered ones come back."""

    async def take(
        self, notifiers: Sequence[str], *, most: int = 20, lease_seconds: float = 30
    ) -> list[PendingMessage]:
        """Oldest first, one at a time per incident and notifier, so that threads stay in order."""
        ...

    async def delivered(self, id: int, reference: str) -> None: ...

    async def retry(self, id: int, *, delay_seconds: float, detail: str) -> None: ...

    async def refused(self, id: int, detail: str) -> None: ...

    async def waiting(self) -> int:
        """How many messages are not delivered yet."""
        ...


class Store(
    PartitionStore,
    SilenceStore,
    IncidentStore,
    AuditStore,
    LedgerStore,
    ApprovalStore,
    PostmortemStore,
    Outbox,
    CaseStore,
    ControlStore,
    FeedbackStore,
    ReplayStore,
    Protocol,
):
    """All of it; the adapter is one class over one connection pool."""

    async def health(self) -> str | None: ...

    async def close(self) -> None: ...
