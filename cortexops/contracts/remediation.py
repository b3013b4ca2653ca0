"""What the writing identity does: dry run, apply, verify, compensate. Each is idempotent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum

from pydantic import AwareDatetime
from temporalio import activity

from cortexops.domain.action import Action, Prepared
from cortexops.domain.change import Change, DiffLine, Preview
from cortexops.domain.incident import Reason
from cortexops.domain.resource import Frozen, ResourceRef
from cortexops.domain.verification import Limits, Verification


class Step(Frozen):
    """Names one change: the idempotency key is made of these."""

    incident_id: str
    attempt: int
    step: int = 1


class DryRunInput(Frozen):
    step: Step
    action: Action
    policy_revision: str


class DryRunResult(Frozen):
    """Either a prepared change with the server's diff, or the reason why the server (or code) refuses."""

    ok: bool
    reason: Reason
    detail: str = ""
    prepared: Prepared | None = None
    preview: Preview | None = None
    digest: str = ""


class ApplyInput(Frozen):
    """`digest` is what was approved or allowed; a dry run that no longer gives it stops the change."""

    step: Step
    prepared: Prepared
    digest: str
    policy_revision: str


class ApplyOutcome(StrEnum):
    APPLIED = "applied"
    REFUSED = "refused"  # nothing was changed
    CHANGED = "changed"  # nothing was changed: the object is not the one that was approved
    UNKNOWN = "unknown"
    HANDED_OVER = "handed_over"  # what could be done here is done; a person's step comes next


class ApplyResult(Frozen):
    outcome: ApplyOutcome
    reason: Reason
    detail: str = ""
    operation_id: str = ""
    change: Change | None = None
    """As the server wrote it, secrets masked: for reading only. The ledger holds what compensation compares with."""


class VerifyInput(Frozen):
    step: Step
    action: Action
    operation_id: str
    limits: Limits
    subject: ResourceRef
    """The object whose health decides, usually the incident's."""
    expected_replicas: int = 0
    onset: AwareDatetime | None = None
    """When the trouble began, and its cause; where they are not given, what the stored diagnosis says."""
    category: str = ""


class CompensateInput(Frozen):
    step: Step
    operation_id: str
    limits: Limits
    subject: ResourceRef


class CompensateResult(Frozen):
    """`healthy`: whether the object is well after the undo (seed 000: postFailureHealthy); None: unknown."""

    done: bool
    reason: Reason
    detail: str = ""
    healthy: bool | None = None
    foreign: tuple[DiffLine, ...] = ()
    commands: tuple[str, ...] = ()


class Remediation(ABC):
    @activity.defn
    @abstractmethod
    async def dry_run(self, question: DryRunInput) -> DryRunResult:
        """Compute the exact change of the live object and let the API server judge it without storing it."""

    @activity.defn
    @abstractmethod
    async def apply(self, order: ApplyInput) -> ApplyResult:
        """Ledger intent → dry run → change with preconditions → ledger applied. Repeatable."""

    @activity.defn
    @abstractmethod
    async def verify(self, question: VerifyInput) -> Verification:
        """Measure until there is a verdict. Marks the ledger row verified when Successful."""

    @activity.defn
    @abstractmethod
    async def compensate(self, order: CompensateInput) -> CompensateResult:
        """Undo what is still ours, verify again, and say whether the object is healthy."""
