"""Actions: one file each. Adding one touches no other file.

An action is data and pure functions: its spec, what it proposes for a diagnosis, and the exact change of
the live object. Reading, dry run, ledger, applying and undoing are the same for all and live in
`activities.remediation`. An action never calls the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

import structlog

from cortexops.domain.action import Action, ActionSpec, Candidate, Prepared, order
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import CortexError
from cortexops.domain.remedies import beside_the_cause, unconfirmed
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.registry import Registry


class ActionPlugin(Protocol):
    """What an action's file provides."""

    spec: ActionSpec

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        """Candidates for the diagnosis, infeasible ones with the reason. Nothing when it does not fit."""
        ...

    def reads(self, action: Action) -> list[ResourceRef]:
        """Objects that `prepare` needs besides the target."""
        ...

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        """The exact change of the live object. Raises `Rejected` when it is not feasible (any more)."""
        ...


class Listing(NamedTuple):
    """Objects that `prepare` needs and cannot name. An identity that may not list them is refused, unless
    they are not `needed`: then they bound nothing."""

    kind: str
    namespace: str = ""
    fields: str = ""
    needed: bool = True


@runtime_checkable
class ReadsLists(Protocol):
    """An action whose `prepare` needs all objects of some kinds; they come with its other `reads`."""

    def lists(self, action: Action) -> list[Listing]: ...


@runtime_checkable
class ReadsLedger(Protocol):
    """An action whose `prepare` needs rows of our own ledger; they come with its other `reads`, by
    `cortexops.domain.earlier.row_ref`."""

    def operations(self, action: Action) -> list[str]: ...


log = structlog.get_logger(__name__)

_MALFORMED = (KeyError, TypeError, AttributeError, IndexError, ValueError)
"""What reading an object raises that lacks fields, or holds other types than Kubernetes documents."""

ACTIONS: Registry[ActionPlugin] = Registry("action", "activities.actions")


def register(plugin: ActionPlugin) -> ActionPlugin:
    """Make an action known under its spec's type."""
    return ACTIONS.register(plugin.spec.type, plugin)


def propose(scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
    """What all actions offer for the diagnosis: feasible ones best first, then the others.

    While the cause is a hypothesis only, nothing is feasible: a person confirms it first. Nor is a change of
    anything but the cause's object, what owns it, or who asks for it.

    An action that cannot make sense of the object (fields are missing or of another type) offers nothing,
    and does not cost the others theirs.
    """
    if diagnosis.cause is None:
        return []
    offered: list[Candidate] = []
    for kind, plugin in ACTIONS:
        try:
            offered += plugin.propose(scene, diagnosis)
        except (*_MALFORMED, CortexError) as error:
            log.warning(
                "an action could not read the object", action=kind, target=str(diagnosis.target),
                error=type(error).__name__,
            )  # fmt: skip
    feasible = order(offered, frozenset())
    found = feasible + [candidate for candidate in offered if not candidate.feasible]
    return [beside_the_cause(unconfirmed(candidate, diagnosis), scene, diagnosis) for candidate in found]
