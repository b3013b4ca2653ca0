"""How many correlators there should be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.scaling import Look, ScaleLimits, scale

LIMITS = ScaleLimits(most=4, per_process=100, busy_seconds=3, idle_seconds=10)
backlogs = st.integers(0, 2000)
processes = st.integers(1, 4)
histories = st.lists(st.tuples(st.floats(0.1, 3), backlogs), max_size=20)


def history(steps: list[tuple[float, int]]) -> list[Look]:
    at, looks = 0.0, []
    for pause, backlog in steps:
        at += pause
        looks.append(Look(at, backlog))
    return looks


def steady(backlog: int, seconds: int) -> list[Look]:
    return [Look(float(at), backlog) for at in range(seconds + 1)]


def test_a_backlog_that_stays_adds_one_and_a_short_one_does_not() -> None:
    assert scale(101, 1, steady(101, 3), LIMITS) == 2
    assert scale(101, 1, steady(101, 2), LIMITS) == 1
    assert scale(101, 1, [*steady(101, 3), Look(4.0, 100), Look(5.0, 101)], LIMITS) == 1
    assert scale(100, 1, steady(100, 60), LIMITS) == 1


def test_one_goes_when_little_has_waited_for_long() -> None:
    assert scale(0, 2, steady(0, 10), LIMITS) == 1
    assert scale(0, 2, steady(0, 9), LIMITS) == 2
    assert scale(60, 2, steady(60, 60), LIMITS) == 2, "one alone could have to be two again"
    assert scale(0, 1, steady(0, 60), LIMITS) == 1


def test_a_number_out_of_bounds_comes_back_at_once() -> None:
    assert scale(0, 0, [], LIMITS) == 1
    assert scale(10**6, 9, [], LIMITS) == 4


@given(backlogs, processes, histories)
def test_it_moves_by_one_at_most_and_stays_within_bounds(
    backlog: int, now: int, steps: list[tuple[float, int]]
) -> None:
    looks = [*history(steps), Look(100.0, backlog)]
    wanted = scale(backlog, now, looks, LIMITS)
    assert abs(wanted - now) <= 1
    assert 1 <= wanted <= LIMITS.most


@given(backlogs, processes)
def test_one_look_decides_nothing(backlog: int, now: int) -> None:
    assert scale(backlog, now, [Look(0.0, backlog)], LIMITS) == now
    assert scale(backlog, now, [], LIMITS) == now


@given(backlogs)
def test_a_steady_backlog_comes_to_rest_at_a_number_from_either_side(backlog: int) -> None:
    for start in (1, LIMITS.most):
        now, moves = start, []
        for _ in range(2 * LIMITS.most):
            wanted = scale(backlog, now, steady(backlog, 60), LIMITS)
            moves.append(wanted - now)
            now = wanted
        assert moves[-1] == 0
        assert not (1 in moves and -1 in moves), "it went up and down under the same load"


@given(backlogs, backlogs, processes, st.integers(0, 30))
def test_more_backlog_never_means_fewer(less: int, more: int, now: int, seconds: int) -> None:
    less, more = sorted((less, more))
    assert scale(less, now, steady(less, seconds), LIMITS) <= scale(more, now, steady(more, seconds), LIMITS)


@given(processes, histories, backlogs)
def test_what_has_just_been_added_is_not_taken_away_under_the_load_that_called_it(
    now: int, steps: list[tuple[float, int]], backlog: int
) -> None:
    if scale(backlog, now, steady(backlog, 60), LIMITS) == now + 1:
        assert scale(backlog, now + 1, steady(backlog, 600), LIMITS) >= now + 1
