"""Signals that wait for others of their key. Time is passed in; nothing here waits itself."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from cortexops.domain.correlation import Fate, key_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity
from cortexops.settings import CorrelatorSettings
from ingest.consumer import Taken

_REMEMBERED = 10_000  # keys


@dataclass(slots=True)
class Group:
    """Signals of one key on their way to one workflow, and how far they have come."""

    key: str
    resource: ResourceRef
    due: float
    taken: list[Taken] = field(default_factory=list)
    fates: dict[str, Fate] | None = None  # decided
    silent: set[int] = field(default_factory=set)  # sequences whose fate was counted at an earlier delivery
    delivered: bool = False
    tries: int = 0


class Groups:
    """Groups that wait for their window, and those that wait to be tried again."""

    def __init__(self, settings: CorrelatorSettings, *, most_held: int) -> None:
        """When half of `most_held` signals wait, no group waits any longer: a storm is not held in memory."""
        self._window = settings.window_seconds
        word = settings.flush_severity
        least = Severity(word).rank if word != "never" else len(Severity)
        self._severe = frozenset(severity for severity in Severity if severity.rank >= least)
        self._open: dict[str, Group] = {}
        self._again: list[Group] = []
        self._leaving: list[Group] = []
        self._sequences: set[int] = set()
        self._flushed: OrderedDict[str, float] = OrderedDict()
        self._press = most_held // 2

    @property
    def held(self) -> int:
        """Signals that are held and not settled."""
        return len(self._sequences)

    def add(self, taken: Taken, resource: ResourceRef, now: float) -> None:
        """Put a signal into its group. One that is held already (delivered twice) is ignored."""
        if taken.delivery.sequence in self._sequences:
            return
        self._sequences.add(taken.delivery.sequence)
        key = key_of(resource)
        group = self._open.get(key)
        if group is None:
            group = self._open[key] = Group(key, resource, now + self._window)
        group.taken.append(taken)
        # A severe signal hurries only the first group of its key: a storm of them must not become
        # one Temporal signal per batch.
        if taken.signal.severity in self._severe and now >= self._flushed.get(key, 0.0):
            group.due = now

    def due(self, now: float) -> list[Group]:
        """Groups whose time has come; they leave, their signals stay held until `settled`."""
        pressed = self.held >= self._press
        ready = [group for group in self._open.values() if pressed or group.due <= now]
        for group in ready:
            del self._open[group.key]
            self._flushed[group.key] = now + self._window
            self._flushed.move_to_end(group.key)
        while len(self._flushed) > _REMEMBERED:
            self._flushed.popitem(last=False)
        ready.extend(group for group in self._again if group.due <= now)
        self._again = [group for group in self._again if group.due > now]
        self._leaving = ready
        return ready

    def next_due(self, now: float) -> float:
        """Seconds until the next group is due, at most one."""
        times = [group.due for group in (*self._open.values(), *self._again)]
        return max(0.0, min([1.0, *(time - now for time in times)]))

    def again(self, group: Group, due: float) -> None:
        """Try this group again at `due`."""
        group.due = due
        self._again.append(group)

    def settled(self, taken: list[Taken]) -> None:
        """These are answered for."""
        self._sequences.difference_update(item.delivery.sequence for item in taken)

    def hurry(self) -> None:
        """Let no group wait any longer."""
        for group in (*self._open.values(), *self._again):
            group.due = 0.0

    def unsettled(self) -> list[Taken]:
        """All signals that are held."""
        groups = (*self._open.values(), *self._again, *self._leaving)
        found = {t.delivery.sequence: t for group in groups for t in group.taken}
        return [taken for sequence, taken in found.items() if sequence in self._sequences]
