"""The law of conservation: what the stream has ever stored is settled, discarded, or still waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from cortexops.domain.partitions import Account
from cortexops.domain.signal import SignalFate


class Verdict(NamedTuple):
    """The sums, in messages where nothing else is said, and whether they come out."""

    holds: bool
    stored: int
    settled: int
    discarded: int
    waiting: int
    unaccounted: int
    """Positive: nobody knows where they are. Negative: settled while we counted, or not yet reported done."""
    signals: int
    fates: Mapping[SignalFate, int]  # of signals, in the order of the enumeration
    explanation: str

    @property
    def law(self) -> str:
        """`stored = settled + discarded + waiting`, in numbers."""
        equal = "=" if self.unaccounted == 0 else "≠"
        return (
            f"{self.stored} messages stored {equal} {self.settled} settled + {self.discarded} discarded "
            f"+ {self.waiting} waiting"
        )

    @property
    def fates_sum(self) -> str:
        """Signals that have a fate, by fate."""
        parts = " + ".join(f"{number} {fate.value}" for fate, number in self.fates.items())
        return f"{self.signals} signals with a fate = {parts or '0'}"


def conservation(
    stored: int, account: Account, backlog: Mapping[int, int], unread: Mapping[int, int] | None = None
) -> Verdict:
    """Judge the sums of one stream.

    `stored` is its newest position, read first; `backlog` has the messages of each partition that are not
    reported done, read next; `account` is read last. In that order a message that moves while we look is
    counted twice rather than not at all. `unread` has the messages of partitions without a reader.

    It is broken only when nothing waits and something is missing: what the stream discards at its limit is
    noticed by the reader of the message behind it.
    """
    waiting = sum(backlog.values()) + sum((unread or {}).values())
    unaccounted = account.unaccounted(stored, waiting)
    counts: Counter[SignalFate] = Counter()
    for fate, number in account.fates.items():
        counts[fate.fate] += number
    holds = not (unaccounted > 0 and waiting == 0)
    return Verdict(
        holds=holds,
        stored=stored,
        settled=account.messages,
        discarded=account.discarded_messages,
        waiting=waiting,
        unaccounted=unaccounted,
        signals=account.signals,
        fates={fate: counts[fate] for fate in SignalFate if counts[fate]},
        explanation=_explanation(holds, waiting, unaccounted),
    )


def _explanation(holds: bool, waiting: int, unaccounted: int) -> str:
    if not holds:
        return f"{unaccounted} messages are in no book although nothing waits"
    if unaccounted > 0:
        return f"{unaccounted} messages are not accounted for yet: their readers have not come to them"
    if unaccounted < 0:
        return f"{-unaccounted} messages were settled while they were counted, or are not reported done yet"
    return "nothing waits" if waiting == 0 else f"{waiting} messages wait"
