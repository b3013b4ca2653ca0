"""What the orchestrating identity does: it keeps the books and asks policy; it touches no cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic import AwareDatetime
from temporalio import activity

from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote
from cortexops.domain.audit import AuditEntry
from cortexops.domain.incident import Incident
from cortexops.domain.message import Message
from cortexops.domain.policy import PolicyDecision, PolicyInput
from cortexops.domain.resource import Frozen
from cortexops.domain.signal import Signal


class OpenInput(Frozen):
    """`draft` has no id yet; the answer has."""

    draft: Incident
    signals: tuple[Signal, ...]
    entry: AuditEntry


class RecordInput(Frozen):
    """The incident as it is now, with the audit entries and messages of what led there."""

    incident: Incident
    entries: tuple[AuditEntry, ...]
    messages: tuple[Message, ...] = ()


class AskInput(Frozen):
    incident: Incident
    request: ApprovalRequest
    entries: tuple[AuditEntry, ...]
    messages: tuple[Message, ...]
    asking: Message
    """The message with the buttons."""


class VoteInput(Frozen):
    vote: Vote
    entry: AuditEntry


class SettleInput(Frozen):
    approval_id: str
    state: ApprovalState
    entry: AuditEntry
    message: Message


class DecideInput(Frozen):
    """The question for policy, and the step that leads to it, which is stored first."""

    record: RecordInput
    question: PolicyInput
    alerts: tuple[str, ...] = ()
    """Names of the alerts, for silences that name one."""
    idempotency_key: str


class ReassessInput(Frozen):
    """A held incident: is it free now? The message that was held back goes out when it is."""

    incident: Incident
    alerts: tuple[str, ...]
    entry: AuditEntry
    message: Message


class Hold(Frozen):
    """Until when an incident is held, and by what; both empty when it is free."""

    until: AwareDatetime | None = None
    by: str = ""


class Records(ABC):
    @activity.defn
    @abstractmethod
    async def open_incident(self, order: OpenInput) -> Incident:
        """Give the incident its id and store it."""

    @activity.defn
    @abstractmethod
    async def record(self, order: RecordInput) -> None:
        """Store state, audit and messages in one transaction."""

    @activity.defn
    @abstractmethod
    async def decide(self, order: DecideInput) -> PolicyDecision:
        """Ask policy; the decision is an audit row, a denial a violation besides."""

    @activity.defn
    @abstractmethod
    async def reassess(self, order: ReassessInput) -> Hold:
        """Whether a silence still holds the incident."""

    @activity.defn
    @abstractmethod
    async def ask_approval(self, order: AskInput) -> None:
        """Store the request and queue the message with the buttons."""

    @activity.defn
    @abstractmethod
    async def record_vote(self, order: VoteInput) -> None: ...

    @activity.defn
    @abstractmethod
    async def settle_approval(self, order: SettleInput) -> None:
        """Store how the approval ended; the message with the buttons is edited."""

    @activity.defn
    @abstractmethod
    async def close_incident(self, order: RecordInput) -> None:
        """Store the final state and write the postmortem from the recorded timeline."""
