"""Actions: one file each. Adding one touches no other file.

An action is data and pure functions: its spec, what it proposes for a diagnosis, and the exact change of
the live object. Reading, dry run, ledger, applying and undoing are the same for all and live in
`activities.remediation`. An action never calls the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from cortexops.domain.action import Action, ActionSpec, Candidate, Prepared, order
from cortexops.domain.diagnosis import Diagnosis
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


ACTIONS: Registry[ActionPlugin] = Registry("action", "activities.actions")


def register(plugin: ActionPlugin) -> ActionPlugin:
    """Make an action known under its spec's type."""
    return ACTIONS.register(plugin.spec.type, plugin)


def propose(scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
    """What all actions offer for the diagnosis: feasible ones best first, then the others."""
    if diagnosis.cause is None:
        return []
    offered = [candidate for _, plugin in ACTIONS for candidate in plugin.propose(scene, diagnosis)]
    feasible = order(offered, frozenset())
    return feasible + [candidate for candidate in offered if not candidate.feasible]
