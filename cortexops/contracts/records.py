"""What the orchestrating identity does: it keeps the books and asks policy; it touches no cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum

from pydantic import AwareDatetime
from temporalio import activity

from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote
from cortexops.domain.audit import AuditEntry
from cortexops.domain.case import Case
from cortexops.domain.incident import Incident
from cortexops.domain.message import Message
from cortexops.domain.policy import PolicyDecision, PolicyInput
from cortexops.domain.resource import Frozen
from cortexops.domain.signal import Signal


class Patch(StrEnum):
    """Named changes of the story's behaviour that a run has from its beginning or never."""

    CASE_WITH_THE_END = "case-with-the-end"  # memory's case is stored with the end, not by an activity
    SETTLED_WITH_THE_STEP = "settled-with-the-step"  # how an approval ended, and what follows, are one record
    VOTES_BEFORE_THE_STEP = "votes-before-the-step"  # nothing follows on a vote that is not written down
    ASKED_AGAIN = "asked-again"  # policy is asked again when people have agreed
    NO_STOP_AT_POLICY = "no-stop-at-policy"  # the policy check is published only when somebody waits in it


class OpenInput(Frozen):
    """`draft` has no id yet; the answer has."""

    draft: Incident
    signals: tuple[Signal, ...]
    entry: AuditEntry


class Opened(Incident):
    """The stored incident, and the patches of whoever stored it.

    The history keeps this answer, so a run goes on as it began whatever version replays it, as with
    `workflow.patched`, which would cost each run two events and an action for every name.
    """

    patches: tuple[str, ...] = ()

    @property
    def incident(self) -> Incident:
        return Incident.model_validate(self.model_dump(exclude={"patches"}))


class SettleInput(Frozen):
    approval_id: str
    state: ApprovalState
    entry: AuditEntry
    message: Message


class RecordInput(Frozen):
    """The incident as it is now, with the audit entries and messages of what led there."""

    incident: Incident
    entries: tuple[AuditEntry, ...]
    messages: tuple[Message, ...] = ()
    settled: SettleInput | None = None
    """The approval whose end led there; stored first."""


class CloseInput(RecordInput):
    """The final record."""

    case: Case | None = None
    """What memory is to keep of it."""


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


class DecideInput(Frozen):
    """The question for policy, and the step that leads to it, which is stored first."""

    record: RecordInput
    question: PolicyInput
    alerts: tuple[str, ...] = ()
    """Names of the alerts, for silences that name one."""
    idempotency_key: str
    confirming: bool = False
    """People have agreed: only whether it is still allowed. Silences held it before; its turn is seen to later."""

    @property
    def settled(self) -> SettleInput | None:
        return self.record.settled


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
    async def open_incident(self, order: OpenInput) -> Opened:
        """Give the incident its id and store it."""

    @activity.defn
    @abstractmethod
    async def record(self, order: RecordInput) -> None:
        """Store state, audit and messages in one transaction, after the approval that was settled."""

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
    async def close_incident(self, order: CloseInput) -> None:
        """Store the final state and the case, and write the postmortem from the recorded timeline."""
