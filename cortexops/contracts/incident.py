"""The incident workflow as others see it: how to start it, signal it, ask it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime

from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote, VoteOutcome, VoteRefusal
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.links import LinkReason
from cortexops.domain.reasoning import ModelLimits
from cortexops.domain.resource import Frozen, ResourceRef
from cortexops.domain.signal import Signal
from cortexops.domain.verification import Limits

INCIDENT_WORKFLOW = "IncidentWorkflow"
ADD_SIGNALS = "add_signals"
ABSORB = "absorb"
LOOK_AGAIN = "look_again"
VOTE = "vote"
STATUS = "status"


class TaskQueue(StrEnum):
    """Three identities: orchestrating, reading clusters, changing them. Models are asked by the reading one,
    on a queue of their own, so that a slow endpoint keeps nobody from being investigated."""

    INCIDENTS = "incidents"
    INVESTIGATION = "investigation"
    REMEDIATION = "remediation"
    REASONING = "reasoning"


class IncidentLimits(Frozen):
    """Times in seconds. They travel in the input, so that a running incident keeps those it started with."""

    max_attempts: int = 5
    approval_seconds: float = 900
    investigation_seconds: float = 180
    verification: Limits = Limits()
    model: ModelLimits | None = None
    """Bounds of reasoning with a model; None: no model is asked."""


class IncidentInput(Frozen):
    """Starts the workflow of one key. The signals come with signal-with-start."""

    resource: ResourceRef
    environment: str = "production"
    limits: IncidentLimits = IncidentLimits()


class SignalBatch(Frozen):
    """Signals for a running incident: new evidence, or the news that some have stopped firing."""

    signals: tuple[Signal, ...]
    linked: tuple[ResourceRef, ...] = ()
    """Objects whose trouble is part of this incident."""


class Absorption(Frozen):
    """Tells a running incident that it is part of another, which goes on in its place."""

    into_key: str
    into_id: str = ""
    reason: LinkReason
    detail: str = ""


class VoteResult(Frozen):
    """The answer to a vote that was not refused: where the approval stands now, and whether it was new."""

    approval_id: str
    state: ApprovalState
    approvals: int
    quorum: int
    outcome: VoteOutcome = VoteOutcome.COUNTED


class VoteRefused(Frozen):
    """Carried as the type of the failed Update: why the vote did not count."""

    refusal: VoteRefusal


class IncidentStatus(Frozen):
    """Answer of the `status` query."""

    incident_id: str
    state: IncidentState
    reason: Reason
    since: AwareDatetime
    attempt: int
    signals: int
    approval: ApprovalRequest | None = None
    votes: tuple[Vote, ...] = ()
