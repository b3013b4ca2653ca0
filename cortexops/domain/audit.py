"""The audit trail: events chained by hash, so that a changed, removed or reordered row is found.

Each chain (one per incident, and `platform` for what belongs to none) starts from sixty-four zeros.
An event's hash covers the previous hash and the canonical JSON of everything else in the row.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from cortexops.domain.ids import digest
from cortexops.domain.resource import Frozen

GENESIS = "0" * 64
PLATFORM = "platform"


class AuditType(StrEnum):
    """What kind of thing happened. The first five are the seeds' names of timeline entries."""

    DETECTED = "detected"
    ANALYZED = "analyzed"
    ACTION_EXECUTED = "action_executed"
    VERIFIED = "verified"
    RESOLVED = "resolved"
    STATE_CHANGED = "state_changed"
    POLICY_DECIDED = "policy_decided"
    POLICY_VIOLATION = "policy_violation"
    DRY_RUN = "dry_run"
    APPROVAL_REQUESTED = "approval_requested"
    APPROVAL_VOTE = "approval_vote"
    APPROVAL_DECIDED = "approval_decided"
    INTENT = "intent"
    ACTION_REFUSED = "action_refused"
    EFFECT_UNKNOWN = "effect_unknown"
    COMPENSATION_EXECUTED = "compensation_executed"
    COMPENSATION_REFUSED = "compensation_refused"
    ESCALATED = "escalated"
    POSTMORTEM = "postmortem"
    TERMINATED = "terminated"


class AuditEntry(Frozen):
    """What is to be recorded. `idempotency_key` makes a repeated recording one row."""

    chain: str
    type: AuditType
    reason: str
    detail: str = ""
    actor: str = "cortexops"
    at: AwareDatetime
    data: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: str


class AuditEvent(AuditEntry):
    """A recorded entry: its place in the chain and the hash that seals it."""

    number: int
    previous_hash: str
    hash: str


def seal(entry: AuditEntry, *, number: int, previous_hash: str) -> AuditEvent:
    """The event that follows `previous_hash` as the chain's `number`th (from 1)."""
    body = entry.model_dump(mode="json", include=set(AuditEntry.model_fields))
    value = digest({"number": number, "previous_hash": previous_hash, **body})
    return AuditEvent(**entry.model_dump(), number=number, previous_hash=previous_hash, hash=value)


class ChainFault(Frozen):
    """Where a chain breaks, and how."""

    chain: str
    number: int
    fault: str


def verify_chain(events: Iterable[AuditEvent], *, head: tuple[int, str] | None = None) -> list[ChainFault]:
    """Every fault of one chain, whose events come in order of their numbers.

    `head` (last number, last hash), when known from elsewhere, reveals rows cut off at the end.
    """
    faults: list[ChainFault] = []
    previous, number, chain = GENESIS, 0, ""
    for event in events:
        chain = event.chain
        if event.number != number + 1:
            faults.append(ChainFault(chain=chain, number=number + 1, fault="row is missing"))
        if event.previous_hash != previous:
            faults.append(
                ChainFault(chain=chain, number=event.number, fault="does not follow the row before it")
            )
        entry = AuditEntry(**event.model_dump(include=set(AuditEntry.model_fields)))
        if seal(entry, number=event.number, previous_hash=event.previous_hash).hash != event.hash:
            faults.append(ChainFault(chain=chain, number=event.number, fault="content was changed"))
        previous, number = event.hash, event.number
    if head is not None and head != (number, previous):
        faults.append(ChainFault(chain=chain or "?", number=number, fault="rows after this one are missing"))
    return faults
