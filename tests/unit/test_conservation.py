"""The law of conservation, judged from sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.conservation import conservation
from cortexops.domain.correlation import Fate
from cortexops.domain.partitions import Account
from cortexops.domain.signal import FateReason, SignalFate

STARTED = Fate(SignalFate.STARTED, FateReason.NEW_INCIDENT)
MERGED = Fate(SignalFate.MERGED, FateReason.SAME_WINDOW)
NODE = Fate(SignalFate.MERGED, FateReason.SAME_NODE)


def account(settled: int, discarded: int = 0, **fates: int) -> Account:
    known = {"started": STARTED, "merged": MERGED, "node": NODE}
    return Account(settled, discarded, {known[name]: number for name, number in fates.items()}, {})


def test_sums_that_come_out_are_said_in_full() -> None:
    verdict = conservation(12, account(7, 2, started=3, merged=5, node=1), {0: 1, 1: 0}, {2: 2})
    assert verdict.holds
    assert verdict.law == "12 messages stored = 7 settled + 2 discarded + 3 waiting"
    assert verdict.fates_sum == "9 signals with a fate = 3 started + 6 merged"
    assert verdict.explanation == "3 messages wait"


def test_something_missing_while_nothing_waits_breaks_the_law() -> None:
    verdict = conservation(12, account(9), {0: 0})
    assert not verdict.holds
    assert verdict.unaccounted == 3
    assert verdict.law == "12 messages stored ≠ 9 settled + 0 discarded + 0 waiting"
    assert "in no book" in verdict.explanation


def test_something_missing_while_messages_wait_is_not_judged_yet() -> None:
    verdict = conservation(12, account(8), {0: 1})
    assert verdict.holds
    assert "not accounted for yet" in verdict.explanation


def test_what_is_settled_while_we_count_is_no_fault() -> None:
    verdict = conservation(12, account(12), {0: 4})
    assert verdict.holds
    assert verdict.unaccounted == -4


def test_an_empty_stream_is_in_order() -> None:
    verdict = conservation(0, account(0), {})
    assert (verdict.holds, verdict.explanation) == (True, "nothing waits")
    assert verdict.fates_sum == "0 signals with a fate = 0"


class World:
    """A stream whose messages move on between the three looks."""

    def __init__(self, messages: int) -> None:
        self.waiting, self.settled, self.discarded, self.stored = messages, 0, 0, messages

    def move(self, steps: Sequence[str]) -> None:
        for step in steps:
            if step == "publish":
                self.stored += 1
                self.waiting += 1
            elif self.waiting:
                self.waiting -= 1
                setattr(self, step, getattr(self, step) + 1)


moves = st.lists(st.sampled_from(["publish", "settled", "discarded"]), max_size=30)


@given(st.integers(0, 20), moves, moves, moves)
def test_traffic_during_the_look_never_looks_like_a_loss(
    messages: int, before: list[str], between: list[str], after: list[str]
) -> None:
    world = World(messages)
    world.move(before)
    stored = world.stored
    world.move(between)
    backlog = {0: world.waiting}
    world.move(after)
    verdict = conservation(stored, account(world.settled, world.discarded), backlog)
    assert verdict.unaccounted <= 0
    assert verdict.holds


@given(st.integers(0, 20), moves, st.integers(1, 5))
def test_a_loss_is_found_as_soon_as_nothing_waits(messages: int, before: list[str], lost: int) -> None:
    world = World(messages + lost)
    world.waiting -= lost
    world.move([*before, *["settled"] * 100])
    verdict = conservation(world.stored, account(world.settled, world.discarded), {0: world.waiting})
    assert (verdict.holds, verdict.unaccounted) == (False, lost)


@given(st.dictionaries(st.sampled_from([STARTED, MERGED, NODE]), st.integers(0, 50)))
def test_reasons_are_summed_up_by_fate(fates: dict[Fate, int]) -> None:
    verdict = conservation(0, Account(0, 0, fates, {}), {})
    expected: Counter[SignalFate] = Counter()
    for fate, number in fates.items():
        expected[fate.fate] += number
    assert dict(verdict.fates) == {fate: number for fate, number in expected.items() if number}
    assert sum(verdict.fates.values()) == verdict.signals
