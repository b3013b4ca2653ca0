"""What became of a runbook's steps in one incident. Part of the diagnosis, so of reports and pages."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from cortexops.domain.resource import Frozen


class StepKind(StrEnum):
    CHECK = "check"
    WAIT_FOR = "wait-for"
    ACTION = "action"
    NOTE = "note"


class StepStatus(StrEnum):
    PENDING = "PENDING"
    SKIPPED = "SKIPPED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class StepReason(StrEnum):
    """Why a step has its status."""

    AS_EXPECTED = "as_expected"
    READ = "read"
    TOLD = "told"
    OFFERED = "offered"
    PREFLIGHT = "preflight_not_met"
    STOPPED = "stopped_by_an_earlier_step"
    OUT_OF_TIME = "out_of_time"
    VALUE_MISSING = "value_missing"
    NOT_CONFIGURED = "not_configured"
    NOT_ALLOWED = "not_allowed"
    INFEASIBLE = "infeasible"
    NOT_TAKEN = "not_taken"
    NOT_AS_EXPECTED = "not_as_expected"
    NOT_FOUND = "not_found"
    NO_DATA = "no_data"
    FORBIDDEN = "forbidden"
    UNREACHABLE = "unreachable"
    NOT_COMPARABLE = "not_comparable"
    UNDER_WAY = "under_way"
    VERIFIED = "verified"
    REFUSED = "refused"
    UNDONE = "undone"
    EFFECT_UNKNOWN = "effect_unknown"


class StepRun(Frozen):
    """One step. `action` is the hash of the action that it offered, `evidence` the fact that it became."""

    id: str
    title: str
    kind: StepKind
    status: StepStatus
    reason: StepReason
    detail: str = ""
    outputs: dict[str, bool | int | float | str] = Field(default_factory=dict)
    seconds: float = 0.0
    evidence: str = ""
    action: str = ""


class RunbookRun(Frozen):
    """One runbook, carried out for one incident. `also` are other runbooks that match, best first."""

    id: str
    version: str
    title: str
    origin: str
    source: str = ""
    link: str = ""
    """Where people read it; shown, never fetched for being here."""
    steps: tuple[StepRun, ...] = ()
    also: tuple[str, ...] = ()
    seconds: float = 0.0

    def counted(self) -> dict[StepStatus, int]:
        """How many steps have each status; statuses that none has are left out."""
        found: dict[StepStatus, int] = {}
        for step in self.steps:
            found[step.status] = found.get(step.status, 0) + 1
        return found
