"""Action: what may be done to a cluster, declared by a spec, bounded by code.

A model or a person may choose among candidates; nobody can choose outside the bounds that were computed
from the live object.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from cortexops.domain.change import Change, DiffLine
from cortexops.domain.errors import InvalidInput
from cortexops.domain.ids import digest
from cortexops.domain.resource import Frozen, ResourceRef


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Permission(Frozen):
    """One RBAC rule that an action needs."""

    group: str
    resource: str
    verbs: tuple[str, ...]


class ActionSpec(Frozen):
    """What an action declares about itself. Documents, policies and RBAC roles are made from it."""

    type: str = Field(pattern=r"^[a-z][a-z_]*$")
    title: str
    description: str
    risk: Risk
    reversible: bool
    kinds: tuple[str, ...]
    """Kinds of object that it acts on."""
    params: dict[str, str] = Field(default_factory=dict)
    """Parameter name → meaning and bounds."""
    permissions: tuple[Permission, ...]
    criteria: tuple[str, ...]
    """Names of the verification checks that decide whether it helped."""
    contains_only: bool = False
    """True when success stops the damage without mending the cause: the incident is CONTAINED."""


class Action(Frozen):
    """One action on one object with its parameters."""

    type: str
    target: ResourceRef
    params: dict[str, Any] = Field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Two attempts with the same hash are the same attempt."""
        return digest(self.model_dump(mode="json"))

    def text(self, name: str) -> str:
        """A parameter as text. Raises `InvalidInput` when it is missing or empty."""
        value = self.params.get(name)
        if not isinstance(value, str) or not value:
            raise InvalidInput(name, f"{self.type} needs it as text")
        return value

    def said(self, name: str) -> str:
        """A parameter as text, empty when it is left out. Raises `InvalidInput` when it is no text."""
        return self.text(name) if self.params.get(name) not in (None, "") else ""

    def whole_number(self, name: str) -> int:
        """A parameter as a whole number. Raises `InvalidInput` when it is missing or none."""
        value = self.params.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON has one sort of number
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidInput(name, f"{self.type} needs it as a whole number")
        return value

    def __str__(self) -> str:
        params = ", ".join(f"{key}={value}" for key, value in self.params.items())
        return f"{self.type} {self.target}" + (f" ({params})" if params else "")


class Infeasible(StrEnum):
    """Why code refuses to offer an action."""

    NO_EARLIER_REVISION = "no_earlier_revision"
    NO_LIMIT_SET = "no_limit_set"
    BOUND_REACHED = "bound_reached"
    OWNED_BY_GITOPS = "owned_by_gitops"
    OBJECT_GONE = "object_gone"
    ROLLOUT_PAUSED = "rollout_paused"
    BUDGET_EXHAUSTED = "disruption_budget_exhausted"
    NOTHING_TO_CHANGE = "nothing_to_change"
    NO_OTHER_NODE = "no_other_node"
    SCALED_BY_HPA = "scaled_by_hpa"
    NO_EARLIER_VALUE = "no_earlier_value"
    NO_HEALTHY_REVISION = "no_healthy_revision"
    NOT_EXPANDABLE = "not_expandable"
    NO_REPOSITORY = "no_repository"
    CAUSE_UNCONFIRMED = "cause_unconfirmed"
    NOT_THE_CAUSE = "does_not_touch_the_cause"
    SET_BY_ANOTHER = "set_by_another"


class BlastRadius(Frozen):
    """Who is touched when the action goes wrong."""

    replicas: int = 0
    namespaces: int = 1
    dependents: tuple[ResourceRef, ...] = ()
    stateful: bool = False
    disruptions_allowed: int | None = None
    traffic: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Requests a second to what is touched, lately; None: unknown, which is not none."""


class ProposerKind(StrEnum):
    """Where a proposal comes from."""

    ANALYZER = "analyzer"  # the diagnosis that evidence alone gives
    RUNBOOK = "runbook"  # the team's runbook asks for it, and the diagnosis alone would not
    MEMORY = "memory"  # earlier incidents put this cause first
    MODEL = "model"  # a model put this cause first
    PERSON = "person"


class ProposedBy(Frozen):
    """Who proposes an action. `name`: of the runbook, the incidents, the model or the person; else empty."""

    kind: ProposerKind = ProposerKind.ANALYZER
    name: str = Field(default="", max_length=200)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


class Candidate(Frozen):
    """An action that was considered for a diagnosis. Only feasible ones can be carried out."""

    action: Action
    risk: Risk
    reversible: bool = True
    contains_only: bool = False
    feasible: bool
    why: str
    infeasible: Infeasible | None = None
    expected_effect: float = Field(ge=0, le=1)
    """How likely it is to mend this cause, by rule: orders the candidates."""
    commands: tuple[str, ...] = ()
    """What a person would type to do the same."""
    caveats: tuple[str, ...] = ()
    blast_radius: BlastRadius = BlastRadius()
    planned: tuple[DiffLine, ...] = ()
    """The edits as code plans them, before the API server has seen them."""
    proposed_by: ProposedBy = ProposedBy()


class Prepared(Frozen):
    """A candidate turned into the exact change of the live object.

    Between dry run and apply only the action and the moment travel with their values: the change is
    computed anew from the live object at `prepared_at`, and must give the digest that was agreed on.
    Outside the process that computed it, `change` is for reading, with secrets masked.
    """

    action: Action
    change: Change
    expected_replicas: int = 0
    prepared_at: AwareDatetime | None = None


def order(candidates: list[Candidate], tried: frozenset[str]) -> list[Candidate]:
    """Feasible candidates that were not tried before: by effect, then the lower risk, then by name."""
    risks = list(Risk)
    left = [c for c in candidates if c.feasible and c.action.hash not in tried]
    return sorted(left, key=lambda c: (-c.expected_effect, risks.index(c.risk), c.action.type))
