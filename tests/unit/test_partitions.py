"""Who reads what, and how far a reader has come."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.partitions import Claim, Lease, Progress, fair_share

members = st.sets(st.sampled_from("abcdefg"), min_size=1)


@given(members, st.integers(1, 40), st.data())
def test_members_come_to_even_shares_without_ever_owning_the_same(
    names: set[str], partitions: int, data: st.DataObject
) -> None:
    owners = {n: data.draw(st.sampled_from(["", *sorted(names), "dead"])) for n in range(partitions)}
    owners = {n: "" if owner == "dead" else owner for n, owner in owners.items()}
    for _ in range(3):  # heartbeats
        for name in sorted(names):
            share = fair_share(name, names, [Claim(n, owner) for n, owner in owners.items()])
            mine = {n for n, owner in owners.items() if owner == name}
            assert {*share.keep, *share.release} == mine
            assert all(owners[n] == "" for n in share.take)
            for n in share.release:
                owners[n] = ""
            for n in share.take:
                owners[n] = name
    sizes = [list(owners.values()).count(name) for name in sorted(names)]
    assert sum(sizes) == partitions
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(0, 5), st.lists(st.integers(1, 3), max_size=12), st.randoms())
def test_the_floor_is_just_below_the_oldest_message_that_is_not_settled(
    floor: int, gaps: list[int], random: Random
) -> None:
    progress = Progress(floor)
    sequences = []
    position = floor
    for gap in gaps:
        position += gap
        sequences.append(position)
        progress.take(position, 2)
    left = set(sequences)
    order = list(sequences)
    random.shuffle(order)
    for sequence in order:
        assert not progress.answer(sequence)
        assert progress.answer(sequence)
        left.discard(sequence)
        expected = min(left) - 1 if left else position
        assert progress.floor_after([sequence]) == expected
        progress.settle([sequence])
        assert progress.held == len(left)
        assert progress.floor_after([]) == expected


def test_a_lease_knows_what_was_settled_before_it() -> None:
    lease = Lease("T", 0, 1, 5, ((7, 9), (12, 13)), {})
    assert [n for n in range(14) if lease.settled(n)] == [0, 1, 2, 3, 4, 5, 7, 8, 12]
