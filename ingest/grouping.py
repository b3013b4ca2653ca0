"""Signals that wait for others of their key. Time is passed in; nothing here waits itself."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from cortexops.domain.correlation import Fate
from cortexops.domain.links import LinkReason
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity
from cortexops.settings_ingest import CorrelatorSettings
from ingest.sighting import Sighting

_REMEMBERED = 10_000  # keys
_CALM = 0.25
"""Share of the window after which the partition is calm: no signal came. What waits to be added to incidents
that have been opened lately then need not wait for more."""
_COMPANY = 0.5
"""Seconds that a severe signal waits when others of its cluster are waiting too: what looks like many
incidents may have one cause, and it may be the next to come."""

_WAITED = 0.25
"""Seconds, and half of the window at most, for which waiting in the stream counts as waiting in the group. Not
more: after an outage a whole storm has waited for long, and its signals must still find each other."""


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A signal, and the message that must be answered for it."""

    sighting: Sighting
    key: str
    resource: ResourceRef  # workload, node or other object that it is about
    sequence: int
    stored_at: float


@dataclass(slots=True)
class Group:
    """Signals of one object that wait."""

    key: str
    resource: ResourceRef
    due: float
    severe: bool = False
    taken: list[Taken] = field(default_factory=list)


@dataclass(slots=True)
class Bundle:
    """Signals on their way to one workflow, and how far they have come."""

    key: str
    resource: ResourceRef
    taken: list[Taken] = field(default_factory=list)
    linked: dict[str, ResourceRef] = field(default_factory=dict)  # objects whose trouble is part of this
    reasons: dict[str, LinkReason] = field(default_factory=dict)  # of linked signals, by id
    absorbs: dict[str, LinkReason] = field(default_factory=dict)  # keys of open incidents that are part of it
    fates: dict[str, Fate] | None = None  # decided
    decided_at: datetime | None = None
    due: float = 0.0
    failures: int = 0

    @property
    def urgency(self) -> tuple[int, float]:
        """Sorts the most severe first, and of those the newest."""
        worst = max((taken.sighting.severity.rank for taken in self.taken), default=0)
        return -worst, -max((taken.sighting.started_at for taken in self.taken), default=0.0)

    def part(self, taken: list[Taken]) -> Bundle:
        """A bundle of some of its signals."""
        return Bundle(self.key, self.resource, taken, self.linked, self.reasons, self.absorbs)


class Groups:
    """Groups that wait for their window, and bundles that wait to be tried again."""

    def __init__(self, settings: CorrelatorSettings) -> None:
        self._window = settings.window_seconds
        self._most_waited = min(_WAITED, self._window / 2)
        word = settings.flush_severity
        least = Severity(word).rank if word != "never" else len(Severity)
        self._severe = frozenset(severity for severity in Severity if severity.rank >= least)
        self._open: dict[str, Group] = {}
        self._crowd: dict[str, int] = defaultdict(int)  # cluster → open groups
        self._flushed: OrderedDict[str, float] = OrderedDict()  # key → until when it may not hurry
        self._newest = 0.0  # when the last signal came, of whatever key
        self._busy: dict[str, float] = {}  # cluster → until when a severe signal has company
        self.again: list[Bundle] = []  # each at its own time
        self._held: list[Bundle] = []  # all together, when an engine is back
        self._held_until = 0.0

    def add(self, taken: Taken, now: float, waited: float = 0.0) -> None:
        """Put a signal into its group. `waited`: seconds that it has been in the stream."""
        group = self._open.get(taken.key)
        if group is None:
            due = now + self._window - max(0.0, min(waited, self._most_waited))
            group = self._open[taken.key] = Group(taken.key, taken.resource, due)
            self._crowd[taken.resource.cluster] += 1
        group.taken.append(taken)
        self._newest = now
        group.severe = group.severe or taken.sighting.severity in self._severe

    def due(self, now: float, *, pressed: bool = False) -> list[Group]:
        """Groups whose time has come; they leave.

        A severe signal does not wait where nothing else is wrong, and not for long in company. It hurries
        only the first group of its key, so that a storm does not become one Temporal signal per message.
        `pressed`: nobody waits, a storm is not held in memory.
        """
        ready = [g for g in self._open.values() if pressed or self._when(g) <= now]
        return [self.take(group, now) for group in ready]

    def _when(self, group: Group) -> float:
        """When the group is due."""
        cluster = group.resource.cluster
        opened = group.due - self._window
        if self._flushed.get(group.key, 0.0) > opened:
            return min(group.due, self._newest + self._window * _CALM)
        if not group.severe:
            return group.due
        alone = self._crowd[cluster] == 1 and self._busy.get(cluster, 0.0) <= opened
        return opened if alone else min(group.due, opened + _COMPANY)

    def take(self, group: Group, now: float) -> Group:
        """This group leaves now."""
        del self._open[group.key]
        cluster = group.resource.cluster
        self._crowd[cluster] -= 1
        self._flushed[group.key] = self._busy[cluster] = now + self._window
        self._flushed.move_to_end(group.key)
        while len(self._flushed) > _REMEMBERED:
            self._flushed.popitem(last=False)
        return group

    def waiting(self, key: str) -> Group | None:
        """The group of this key that still waits."""
        return self._open.get(key)

    def hold(self, bundles: list[Bundle], until: float) -> None:
        """An engine is away: these wait, and are tried again together, so that the most severe goes first."""
        self._held += bundles
        self._held_until = until

    def retries(self, now: float) -> list[Bundle]:
        """Bundles to be tried again now; they leave."""
        ready = [bundle for bundle in self.again if bundle.due <= now]
        self.again = [bundle for bundle in self.again if bundle.due > now]
        if self._held_until <= now:
            ready, self._held = ready + self._held, []
        return ready

    def next_due(self, now: float) -> float:
        """Seconds until something is due, at most one."""
        times = [bundle.due for bundle in self.again]
        times += [self._held_until] if self._held else []
        times += [self._when(group) for group in self._open.values()]
        return max(0.0, min([1.0, *(time - now for time in times)]))

    def hurry(self) -> None:
        """Let nobody wait any longer."""
        for group in self._open.values():
            group.due = float("-inf")
        for bundle in self.again:
            bundle.due = 0.0
        self._held_until = 0.0
