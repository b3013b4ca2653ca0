"""The kill switch: stops that people set, for everything or for a cluster, a namespace, an action.

A stop forbids every change that it covers, whatever policy and approvers say: it is looked at when policy
is asked and again just before a change is sent. It hides nothing: investigation and messages go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import AwareDatetime, Field

from cortexops.domain.action import Action
from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import Frozen

RULE = "kill_switch"
"""The rule that denials by a stop name."""
UNREADABLE = "stops_unreadable"
"""The reason when the stops cannot be read: then everything counts as stopped."""


class Scope(Frozen):
    """What a stop or an override covers: all fields that are given must match; none given is everything."""

    cluster: str = Field(default="", max_length=63)
    namespace: str = Field(default="", max_length=63)
    action: str = Field(default="", max_length=63)

    def covers(self, action: Action) -> bool:
        """Whether the action is within it. A cluster-wide object, such as a node, is part of every
        namespace of its cluster."""
        target = action.target
        return (
            self.cluster in ("", target.cluster)
            and (self.namespace in ("", target.namespace) or not target.namespace)
            and self.action in ("", action.type)
        )

    def __str__(self) -> str:
        given = [f"{field}={value}" for field, value in self.model_dump().items() if value]
        return ", ".join(given) or "everything"


class Stop(Frozen):
    """One stop. `until` absent: until somebody resumes."""

    id: str
    scope: Scope
    reason: str = Field(min_length=1, max_length=500)
    stopped_by: str = Field(min_length=1, max_length=253)
    since: AwareDatetime
    until: AwareDatetime | None = None
    resumed_at: AwareDatetime | None = None
    resumed_by: str = ""

    def in_force(self, now: datetime) -> bool:
        """Whether it stops anything at that moment. It does from the moment when it is there: `since` is told
        by the clock of whoever set it, which may be ahead of others."""
        return self.resumed_at is None and (self.until is None or now < self.until)

    def __str__(self) -> str:
        return f"{self.id} ({self.scope}) by {self.stopped_by}: {self.reason}"


def stopping(stops: Iterable[Stop], action: Action) -> list[Stop]:
    """Of stops in force those that cover the action, the oldest first."""
    found = [stop for stop in stops if stop.scope.covers(action)]
    return sorted(found, key=lambda stop: (stop.since, stop.id))


def check_stop(stop: Stop, now: datetime) -> Stop:
    """The stop, if it may be set. Raises `InvalidInput` naming the field."""
    if not stop.reason.strip():
        raise InvalidInput("reason", "say why: it is written into the audit trail")
    if stop.until is not None and stop.until <= now:
        raise InvalidInput("until", "is in the past")
    return stop
