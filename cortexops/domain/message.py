"""Message: what people are told about an incident, whatever the channel.

Messages are stored in the outbox in the same transaction as the state that they report, and delivered
from there: a channel that is down holds nothing up, and no message is sent twice for one change.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime, Field

from cortexops.domain.approval import ApprovalRequest, Vote
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.resource import Frozen
from cortexops.domain.signal import Severity


class MessageKind(StrEnum):
    DETECTED = "detected"
    DIAGNOSED = "diagnosed"
    APPROVAL = "approval"
    APPROVAL_VOTED = "approval_voted"
    APPROVAL_REMINDER = "approval_reminder"
    APPROVAL_LAST_CALL = "approval_last_call"
    APPROVAL_SILENCE = "approval_silence"
    APPROVAL_DECIDED = "approval_decided"
    PROGRESS = "progress"
    ENDED = "ended"


class Message(Frozen):
    """One thing to tell. `key` is its idempotency key; the first of an incident opens its thread."""

    key: str
    kind: MessageKind
    incident_id: str
    title: str
    severity: Severity
    state: IncidentState
    reason: Reason | None = None
    """Why the incident is in this state; None in messages that were queued before this was told."""
    text: str
    fields: dict[str, str] = Field(default_factory=dict)
    approval: ApprovalRequest | None = None
    votes: tuple[Vote, ...] = ()
    """What was said on `approval` so far."""
    at: AwareDatetime
    drill: bool = False
    changes_left: int = 0
    """Changes of ours that nobody works on any more and that are in the cluster, or may be."""


class Delivery(StrEnum):
    SENT = "sent"
    RETRY = "retry"
    REFUSED = "refused"


class Delivered(Frozen):
    """What a notifier answers. `reference` (for example channel and ts) is handed to later messages."""

    result: Delivery
    reference: str = ""
    detail: str = ""
    retry_seconds: float = 5.0
