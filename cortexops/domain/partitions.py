"""Who reads which partition of the stream, and how far a reader has come. Pure; the store keeps it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cortexops.domain.correlation import Fate


class Claim(NamedTuple):
    """One partition as the store has it. `owner` is empty when nobody's lease is valid."""

    number: int
    owner: str


class Share(NamedTuple):
    """What one correlator is to do now."""

    keep: tuple[int, ...]
    take: tuple[int, ...]
    release: tuple[int, ...]


def fair_share(me: str, members: Iterable[str], claims: Sequence[Claim]) -> Share:
    """Each of the living members gets the same number of partitions, the first by name one more where it does
    not come out even. One that has too many releases the last; one that has too few takes free ones only, so
    nothing is taken from anybody who is alive."""
    names = sorted({me, *members})
    rank = names.index(me)
    quota = len(claims) // len(names) + (rank < len(claims) % len(names))
    mine = sorted(claim.number for claim in claims if claim.owner == me)
    free = sorted(claim.number for claim in claims if not claim.owner)
    return Share(
        keep=tuple(mine[:quota]),
        take=tuple(free[: max(0, quota - len(mine))]),
        release=tuple(mine[quota:]),
    )


class Lease(NamedTuple):
    """The right to read one partition, and where the last owner stood. `epoch` grows with each new owner."""

    stream: str
    partition: int
    epoch: int
    floor: int  # all messages up to here are settled
    above: tuple[tuple[int, int], ...]  # settled ones above it, as ranges [from, before)
    places: Mapping[str, tuple[int, int]]  # of each publisher: the next message and signal number

    def settled(self, sequence: int) -> bool:
        """Whether an earlier owner has settled this message."""
        return sequence <= self.floor or any(first <= sequence < end for first, end in self.above)


class Entry(NamedTuple):
    """One signal's line in the log."""

    signal_id: str
    fate: Fate
    key: str
    body: str


class Settlement(NamedTuple):
    """What is recorded at once: messages that are answered for, and the fate of every signal in them."""

    floor: int
    sequences: Sequence[int]
    entries: Sequence[Entry]
    counts: Mapping[Fate, int]
    places: Mapping[str, tuple[int, int]]
    discarded_messages: int = 0


class Account(NamedTuple):
    """The sums of one stream over all its owners: nothing may be missing from them."""

    messages: int  # settled
    discarded_messages: int
    fates: Mapping[Fate, int]  # of signals
    floors: Mapping[int, int]

    @property
    def signals(self) -> int:
        """Signals that have a fate."""
        return sum(self.fates.values())

    def unaccounted(self, last: int, waiting: int) -> int:
        """Messages of the stream, which ends at `last`, that are neither settled nor discarded nor waiting.
        Not 0 is either news that is still on its way or a loss; while nothing waits, it is a loss."""
        return last - self.messages - self.discarded_messages - waiting


class Progress:
    """Which messages of a partition are taken and which of them are settled.

    Messages come in order and are settled in any; the floor is below the oldest that is not.
    """

    def __init__(self, floor: int) -> None:
        self._open: dict[int, int] = {}  # sequence → signals without a fate
        self._order: deque[int] = deque()
        self._last = floor

    def take(self, sequence: int, signals: int) -> None:
        """A message with so many signals is in our hands."""
        self._last = max(self._last, sequence)
        self._open[sequence] = signals
        self._order.append(sequence)

    def skip(self, sequence: int) -> None:
        """A message that needs nothing."""
        self._last = max(self._last, sequence)

    def answer(self, sequence: int) -> bool:
        """One more of its signals has a fate. True when it was the last."""
        self._open[sequence] -= 1
        return self._open[sequence] <= 0

    def settle(self, sequences: Iterable[int]) -> None:
        """These are recorded."""
        for sequence in sequences:
            self._open.pop(sequence, None)
        while self._order and self._order[0] not in self._open:
            self._order.popleft()

    def floor_after(self, sequences: Iterable[int]) -> int:
        """The floor as it will be when these are settled too."""
        gone = set(sequences)
        for sequence in self._order:
            if sequence in self._open and sequence not in gone:
                return sequence - 1
        return self._last

    @property
    def held(self) -> int:
        """Messages in our hands."""
        return len(self._open)
