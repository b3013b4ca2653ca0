"""The few store methods that the correlator needs, in memory, able to fail on command."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cortexops.domain.correlation import EndedIncident, Fate
from cortexops.domain.errors import CortexError, Rejected
from cortexops.domain.partitions import Account, Claim, Lease, Settlement, fair_share
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import FateReason, Signal, SignalFate, parse_signal
from cortexops.ports.partitions import Fenced, Shared

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass
class _Partition:
    owner: str = ""
    epoch: int = 0
    expires: float = 0.0
    floor: int = 0
    above: set[int] = field(default_factory=set)
    messages: int = 0
    discarded: int = 0
    places: dict[str, tuple[int, int]] = field(default_factory=dict)


class MemoryStore:
    """Part of `cortexops.ports.store.Store`: what a correlator asks of it."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.opened: dict[str, datetime] = {}  # when; those of `open` that are not here were long ago
        self.open_bodies: dict[str, dict[str, tuple[ResourceRef, list[str]]]] = {}
        self.ended: dict[str, EndedIncident] = {}
        self.known: dict[str, datetime] = {}
        self.rows: list[tuple[Signal, Fate, str]] = []
        self.counts: Counter[Fate] = Counter()
        self.failure: CortexError | None = None
        self.recording_failures: list[CortexError] = []
        self.refuses: str = ""  # a signal name that makes recording fail for good
        self.members: dict[str, float] = {}
        self.partitions: dict[int, _Partition] = {}
        self.settled: list[tuple[int, int, str]] = []  # (partition, epoch, signal id) in order of recording

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def open_keys(self, keys: Sequence[str]) -> dict[str, datetime]:
        self._check()
        return {key: self.opened.get(key, _LONG_AGO) for key in keys if key in self.open}

    async def open_signals(self, cluster: str) -> dict[str, tuple[ResourceRef, list[str]]]:
        self._check()
        return self.open_bodies.get(cluster, {})

    async def last_ended(self, keys: Sequence[str]) -> dict[str, EndedIncident]:
        self._check()
        return {key: self.ended[key] for key in keys if key in self.ended}

    async def known_signals(self, ids: Sequence[str]) -> dict[str, datetime]:
        self._check()
        return {id_: self.known[id_] for id_ in ids if id_ in self.known}

    async def share(self, stream: str, owner: str, partitions: int, ttl: timedelta) -> Shared:
        self._check()
        now = time.monotonic()
        self.members[owner] = now + ttl.total_seconds()
        for number in range(partitions):
            self.partitions.setdefault(number, _Partition())
        living = [name for name, until in self.members.items() if until > now]
        claims = [Claim(n, p.owner if p.expires > now else "") for n, p in sorted(self.partitions.items())]
        share = fair_share(owner, living, claims)
        for number in (*share.keep, *share.release, *share.take):
            self.partitions[number].expires = now + ttl.total_seconds()
        taken = []
        for number in share.take:
            part = self.partitions[number]
            part.owner, part.epoch = owner, part.epoch + 1
            above = tuple((sequence, sequence + 1) for sequence in sorted(part.above))
            taken.append(Lease(stream, number, part.epoch, part.floor, above, dict(part.places)))
        return Shared(taken, [*share.keep, *share.release], list(share.release))

    async def release(self, lease: Lease, owner: str) -> None:
        part = self.partitions[lease.partition]
        if part.owner == owner and lease.epoch in (part.epoch, -1):
            part.owner, part.expires = "", 0.0

    async def leave(self, owner: str) -> None:
        self.members.pop(owner, None)
        for part in self.partitions.values():
            if part.owner == owner:
                part.owner, part.expires = "", 0.0

    async def record_settlement(self, lease: Lease, settlement: Settlement) -> None:
        self._check()
        if self.recording_failures:
            raise self.recording_failures.pop()
        part = self.partitions[lease.partition]
        if part.epoch != lease.epoch:
            raise Fenced("the partition has passed to another correlator")
        signals = [parse_signal(entry.body) for entry in settlement.entries]
        if self.refuses and any(signal.name == self.refuses for signal in signals):
            raise Rejected("this row cannot be stored")
        part.floor = max(part.floor, settlement.floor)
        part.above = {n for n in part.above | set(settlement.sequences) if n > part.floor}
        part.messages += len(settlement.sequences)
        part.discarded += settlement.discarded_messages
        part.places = dict(settlement.places)
        self.counts.update(settlement.counts)
        for signal, entry in zip(signals, settlement.entries, strict=True):
            self.rows.append((signal, entry.fate, entry.key))
            self.known[signal.id] = datetime.now(UTC)
            self.settled.append((lease.partition, lease.epoch, signal.id))

    async def discarded(self, stream: str, messages: int) -> None:
        part = self.partitions.setdefault(-1, _Partition())
        part.discarded += messages
        self.counts[Fate(SignalFate.DROPPED, FateReason.STREAM_LIMIT)] += messages

    async def account(self, stream: str) -> Account:
        return Account(
            sum(part.messages for part in self.partitions.values()),
            sum(part.discarded for part in self.partitions.values()),
            dict(self.counts),
            {number: part.floor for number, part in self.partitions.items()},
        )

    async def owners(self, stream: str) -> Sequence[tuple[int, str, int]]:
        now = time.monotonic()
        return [
            (number, part.owner if part.expires > now else "", part.epoch)
            for number, part in sorted(self.partitions.items())
        ]
