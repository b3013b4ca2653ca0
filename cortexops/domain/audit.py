"""The audit trail: events chained by hash, so that a changed, removed or reordered row is found.

Each chain (one per incident, and `platform` for what belongs to none) starts from sixty-four zeros.
An event's hash covers the previous hash and the canonical JSON of everything else in the row.

Two formats live side by side, told apart by what is sealed: rows of the first name no inputs; rows of the
second ("2") seal the hash of their inputs as well. What was sealed once keeps its hash for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from cortexops.domain.ids import digest
from cortexops.domain.resource import Frozen

GENESIS = "0" * 64
START = (0, GENESIS)
"""Number and hash before a chain's first row."""
PLATFORM = "platform"
FORMAT = "2"
"""Rows that seal their inputs' hash."""


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
    APPROVAL_REMINDED = "approval_reminded"
    VOTE_REFUSED = "vote_refused"
    REQUEST_REFUSED = "request_refused"
    INTENT = "intent"
    ACTION_REFUSED = "action_refused"
    EFFECT_UNKNOWN = "effect_unknown"
    COMPENSATION_EXECUTED = "compensation_executed"
    COMPENSATION_REFUSED = "compensation_refused"
    ESCALATED = "escalated"
    POSTMORTEM = "postmortem"
    TERMINATED = "terminated"
    FEEDBACK = "feedback"
    CONTROL_CHANGED = "control_changed"
    ORPHAN_FOUND = "orphan_found"
    ARCHIVED = "archived"
    MODEL_ASKED = "model_asked"
    PART_EXECUTED = "part_executed"


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
    inputs: str = ""
    """SHA-256 of what this decision or act rested on; empty: `resting` fills it in when it is recorded."""


class AuditEvent(AuditEntry):
    """A recorded entry: its place in the chain and the hash that seals it."""

    number: int
    previous_hash: str
    hash: str
    format: str = ""
    """Empty for rows of the first format, which name no inputs."""


def resting(entry: AuditEntry, *on: Any) -> AuditEntry:
    """The entry with its inputs' hash: of `on` (JSON values), else of what the entry itself tells of them.

    An entry that names its inputs keeps them.
    """
    if entry.inputs:
        return entry
    told = list(on) or [entry.type.value, entry.reason, entry.detail, entry.data]
    return entry.model_copy(update={"inputs": digest(told)})


def sealed_body(event: AuditEvent) -> dict[str, Any]:
    """The content that the hash is taken over. Rows of the first format keep the shape that they had."""
    body = event.model_dump(mode="json", exclude={"hash"})
    return {key: value for key, value in body.items() if value or key not in ("inputs", "format")}


def seal(entry: AuditEntry, *, number: int, previous_hash: str) -> AuditEvent:
    """The event that follows `previous_hash` as the chain's `number`th (from 1)."""
    event = AuditEvent(
        **entry.model_dump(),
        number=number,
        previous_hash=previous_hash,
        format=FORMAT if entry.inputs else "",
        hash="",
    )
    return event.model_copy(update={"hash": digest(sealed_body(event))})


class ChainFault(Frozen):
    """Where a chain breaks, and how."""

    chain: str
    number: int
    fault: str
    column: str = ""
    """The column that differs, where it is one."""


def verify_chain(
    events: Iterable[AuditEvent], *, head: tuple[int, str] | None = None, after: tuple[int, str] = START
) -> list[ChainFault]:
    """Every fault of one chain, whose events come in order of their numbers.

    `head` (last number, last hash), when known from elsewhere, reveals rows cut off at the end; `after` is
    the last row that was archived.
    """
    faults: list[ChainFault] = []
    number, previous = after
    chain = ""
    for event in events:
        chain = event.chain
        if event.number > number + 1:
            faults.append(ChainFault(chain=chain, number=number + 1, fault="row is missing"))
        elif event.number <= number:
            faults.append(
                ChainFault(chain=chain, number=event.number, fault="row is doubled or out of order")
            )
        if event.previous_hash != previous:
            faults.append(
                ChainFault(chain=chain, number=event.number, fault="does not follow the row before it")
            )
        if digest(sealed_body(event)) != event.hash:
            faults.append(ChainFault(chain=chain, number=event.number, fault="content was changed"))
        previous, number = event.hash, event.number
    if head is not None and head != (number, previous):
        faults.append(ChainFault(chain=chain or "?", number=number, fault="rows after this one are missing"))
    return faults
