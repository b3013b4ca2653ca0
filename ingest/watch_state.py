"""What a watcher remembers of a cluster: which objects complain, since when, and what is still to be told.

Decisions only: time comes in as an argument, signals go out. Of an object nothing is kept but the signals that
follow from it, so that a cluster of many thousand pods costs what its troubled ones cost.

Ends are told as far as this process knows the firing. After a restart it learns the firings from what still
complains, and from a container's last end; what was mended while nobody watched, and left no trace in the
object, is not called over: the incident's own check of the object finds that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timedelta

from cortexops.domain.resource import JSON
from cortexops.domain.signal import Signal
from ingest.sources.kubernetes import GRACE, Complaint, complaints, traces
from ingest.watch_ends import End, end_of, resolved

NEWS = timedelta(minutes=10)
"""What began longer ago and is over already when a process sees the object for the first time is no news."""
_MOST_OBJECTS = 10_000  # that complain; of more, those that have been silent longest are forgotten
_MOST_SERIES = 20_000


class _Firing:
    """One complaint that was told, and how it ends as the object stands."""

    __slots__ = ("end", "over", "shown", "signal")

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.end: End | None = None
        self.over = False  # told; it stays while the object still shows the complaint
        self.shown = False


class _Troubled:
    """One object that complains or may soon. Firings are kept by their fingerprint, the newest of each."""

    __slots__ = ("firings", "gone", "kind", "waiting")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.firings: dict[str, _Firing] = {}
        self.waiting: list[Complaint] = []
        self.gone = False


class WatchState:
    """One cluster's troubled objects."""

    def __init__(self, cluster: str, grace: timedelta = GRACE, *, most: int = _MOST_OBJECTS) -> None:
        self._cluster = cluster
        self._grace = grace
        self._most = most
        self._objects: OrderedDict[str, _Troubled] = OrderedDict()
        self._newest: OrderedDict[str, datetime] = OrderedDict()  # of each series the latest start

    def __len__(self) -> int:
        return len(self._objects)

    def see(self, item: JSON, now: datetime, *, first: bool = False) -> list[Signal]:
        """What is to be told of an object as it is. `first`: this process may not have seen it before.

        Telling again what was told is left to whoever sends: the ids are the same.
        Raises `InvalidInput` for an object that is not formed as Kubernetes forms it; nothing changes then.
        """
        kind = str(item.get("kind"))
        found = complaints(item, self._cluster, now, grace=self._grace)
        if kind == "Event":  # it never ends, but its series may be that of a pod, which does
            signals = [complaint.signal for complaint in found]
            for signal in signals:
                self._note(signal)
            return signals
        uid = str((item.get("metadata") or {}).get("uid"))
        known = self._objects.get(uid)
        first = first and known is None
        old = [firing.signal for firing in known.firings.values()] if known else []
        past = traces(item, self._cluster, now) if first and kind == "Pod" else []
        current = [complaint.signal for complaint in found if complaint.due <= now]
        candidates = {signal.fingerprint: signal for signal in past}
        for signal in [*old, *current]:
            other = candidates.get(signal.fingerprint)
            if other is None or signal.started_at > other.started_at:
                candidates[signal.fingerprint] = signal
        ends = {print_: end_of(signal, item, self._grace) for print_, signal in candidates.items()}
        # Nothing below raises: what is remembered is either as it was or as the object is.
        waiting = [complaint for complaint in found if complaint.due > now]
        if not candidates and not waiting:
            self._objects.pop(uid, None)
            return []
        entry = known or _Troubled(kind)
        entry.waiting = waiting
        self._settle(entry, candidates, {signal.fingerprint for signal in current}, ends)
        self._keep(uid, entry)
        told = [signal for signal in current if not (first and self._is_history(entry, signal, now))]
        for signal in current:
            self._note(signal)
        told += self._over(entry, now)
        self._drop_if_settled(uid, entry)
        return told

    def gone(self, item: JSON, now: datetime) -> list[Signal]:
        """What is to be told of an object that was deleted; most of it a grace later, see `due`.

        A pod that a controller replaces takes its complaint with it, and the replacement needs a moment
        to complain in its stead. Of an object that was found missing only the uid is known.
        """
        uid = str((item.get("metadata") or {}).get("uid"))
        entry = self._objects.get(uid)
        if entry is None:
            return []
        entry.gone = True
        entry.waiting = []
        for firing in entry.firings.values():
            at = min(now, firing.end.at) if firing.end else now
            end = end_of(firing.signal, item, self._grace)
            if end is None or end.how != "was deleted":
                end = End(at, now + self._grace, "was deleted")
            if firing.end is None or end.due < firing.end.due:
                firing.end = end
        told = list(self._over(entry, now))
        self._drop_if_settled(uid, entry)
        return told

    def uids(self, kind: str) -> set[str]:
        """Of the objects of a kind that are remembered and were not seen to be deleted."""
        return {uid for uid, entry in self._objects.items() if entry.kind == kind and not entry.gone}

    def due(self, now: datetime) -> list[Signal]:
        """What time alone made worth telling: complaints that outlasted the grace, and ends that did."""
        told: list[Signal] = []
        for uid, entry in list(self._objects.items()):
            ripe = [complaint.signal for complaint in entry.waiting if complaint.due <= now]
            if ripe:
                entry.waiting = [complaint for complaint in entry.waiting if complaint.due > now]
                for signal in ripe:
                    fresh = signal.model_copy(update={"received_at": now})
                    entry.firings[signal.fingerprint] = _Firing(fresh)
                    self._note(fresh)
                    told.append(fresh)
            told += self._over(entry, now)
            self._drop_if_settled(uid, entry)
        return told

    # -- parts ---------------------------------------------------------------------------------------

    @staticmethod
    def _settle(
        entry: _Troubled, candidates: dict[str, Signal], current: set[str], ends: dict[str, End | None]
    ) -> None:
        for fingerprint, signal in candidates.items():
            firing = entry.firings.get(fingerprint)
            if firing is None or firing.signal.started_at < signal.started_at:
                firing = entry.firings[fingerprint] = _Firing(signal)
            firing.end = ends[fingerprint]
        for fingerprint, firing in list(entry.firings.items()):
            firing.shown = fingerprint in current
            if firing.over and not firing.shown:
                del entry.firings[fingerprint]

    @staticmethod
    def _is_history(entry: _Troubled, signal: Signal, now: datetime) -> bool:
        firing = entry.firings[signal.fingerprint]
        return firing.end is not None and firing.end.due <= now and signal.started_at + NEWS < now

    def _over(self, entry: _Troubled, now: datetime) -> Iterator[Signal]:
        for fingerprint, firing in list(entry.firings.items()):
            if firing.end is None or firing.over or firing.end.due > now:
                continue
            firing.over = True
            if not firing.shown or entry.gone:
                del entry.firings[fingerprint]
            started = firing.signal.started_at
            yield resolved(firing.signal, firing.end, started, now)
            # An event that told of the same trouble may have named a later start: it is over just as well.
            if (latest := self._newest.get(fingerprint, started)) > started:
                yield resolved(firing.signal, firing.end, latest, now)

    def _drop_if_settled(self, uid: str, entry: _Troubled) -> None:
        if not entry.waiting and not entry.firings:
            self._objects.pop(uid, None)

    def _keep(self, uid: str, entry: _Troubled) -> None:
        self._objects[uid] = entry
        self._objects.move_to_end(uid)
        while len(self._objects) > self._most:
            self._objects.popitem(last=False)

    def _note(self, signal: Signal) -> None:
        known = self._newest.pop(signal.fingerprint, signal.started_at)
        self._newest[signal.fingerprint] = max(known, signal.started_at)
        while len(self._newest) > _MOST_SERIES:
            self._newest.popitem(last=False)
