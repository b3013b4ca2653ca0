"""Verdicts: Successful only after an unbroken healthy time; the three ways of not being so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.verification import Limits, Measurement, Phase, Verification, assess

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(window=20, stable_for=6, interval=2, consecutive_errors=3)
_P = Phase


def rounds(*phases: Phase | tuple[Phase, ...] | None) -> list[list[Measurement]]:
    """One round every two seconds; None is a round without any measurement."""
    found = []
    for number, phase in enumerate(phases):
        several = phase if isinstance(phase, tuple) else (phase,)
        at = T0 + timedelta(seconds=2 * number)
        found.append(
            [
                Measurement(check=f"check{i}", phase=one, detail=f"says {one}", at=at)
                for i, one in enumerate(several)
                if one is not None
            ]
        )
    return found


def judged(*phases: Phase | tuple[Phase, ...] | None, at: float | None = None) -> Verification:
    seconds = 2 * (len(phases) - 1) if at is None else at
    return assess(rounds(*phases), LIMITS, started=T0, now=T0 + timedelta(seconds=max(0, seconds)))


def test_four_good_rounds_over_the_stable_time_succeed() -> None:
    assert judged(*[_P.SUCCESSFUL] * 3).phase is _P.RUNNING
    assert judged(*[_P.SUCCESSFUL] * 4).phase is _P.SUCCESSFUL


@pytest.mark.parametrize("break_", [_P.ERROR, _P.RUNNING, _P.INCONCLUSIVE, None])
def test_a_break_starts_the_stable_time_anew(break_: Phase | None) -> None:
    good = _P.SUCCESSFUL
    assert judged(good, good, good, break_, good, good).phase is _P.RUNNING
    assert judged(good, good, good, break_, good, good, good, good).phase is _P.SUCCESSFUL


def test_a_failed_check_ends_it_at_once() -> None:
    verdict = judged(_P.SUCCESSFUL, (_P.SUCCESSFUL, _P.FAILED))
    assert verdict.phase is _P.FAILED
    assert verdict.detail == "check1: says Failed"


def test_what_never_gets_healthy_fails_at_the_end_of_the_window() -> None:
    assert judged(*[_P.RUNNING] * 10).phase is _P.RUNNING
    assert judged(*[_P.RUNNING] * 11).phase is _P.FAILED


def test_health_that_comes_too_late_is_inconclusive() -> None:
    assert judged(*[_P.RUNNING] * 9, _P.SUCCESSFUL, _P.SUCCESSFUL).phase is _P.INCONCLUSIVE


def test_answers_that_decide_nothing_are_inconclusive_at_the_end() -> None:
    assert judged(*[_P.INCONCLUSIVE] * 11).phase is _P.INCONCLUSIVE


def test_too_many_rounds_that_could_not_be_measured_are_an_error() -> None:
    assert judged(_P.ERROR, _P.ERROR).phase is _P.RUNNING
    assert judged(_P.ERROR, _P.ERROR, _P.ERROR).phase is _P.ERROR
    assert judged(_P.ERROR, _P.ERROR, _P.SUCCESSFUL, _P.ERROR).phase is _P.RUNNING


def test_an_error_at_the_end_of_the_window_is_an_error() -> None:
    assert judged(*[_P.RUNNING] * 10, _P.ERROR).phase is _P.ERROR


def test_measuring_nothing_is_never_success() -> None:
    assert judged(None, None, None).phase is _P.ERROR
    assert judged(None, at=60).phase is _P.ERROR
    assert assess([], LIMITS, started=T0, now=T0 + timedelta(seconds=60)).phase is _P.ERROR


@pytest.mark.parametrize(
    ("several", "worst"),
    [
        ((_P.SUCCESSFUL, _P.RUNNING), _P.FAILED),
        ((_P.SUCCESSFUL, _P.INCONCLUSIVE, _P.RUNNING), _P.INCONCLUSIVE),
        ((_P.INCONCLUSIVE, _P.ERROR), _P.ERROR),
    ],
)
def test_the_worst_check_decides(several: tuple[Phase, ...], worst: Phase) -> None:
    limits = LIMITS.model_copy(update={"consecutive_errors": 50})
    verdict = assess(rounds(*[several] * 11), limits, started=T0, now=T0 + timedelta(seconds=20))
    assert verdict.phase is worst


phases = st.sampled_from(Phase)


@given(st.lists(st.lists(phases, max_size=3).map(tuple), max_size=14), st.floats(0, 3))
def test_success_needs_every_check_good_through_the_stable_time(
    story: list[tuple[Phase, ...]], late: float
) -> None:
    now = T0 + timedelta(seconds=2 * max(0, len(story) - 1) + late)
    verdict = assess(rounds(*story), LIMITS, started=T0, now=now)
    if verdict.phase is _P.SUCCESSFUL:
        since = now - timedelta(seconds=LIMITS.stable_for)
        within = [r for n, r in enumerate(story) if T0 + timedelta(seconds=2 * n) >= since]
        assert within
        assert all(r and set(r) == {_P.SUCCESSFUL} for r in within)
    if story and _P.FAILED in story[-1]:
        assert verdict.phase is _P.FAILED
    if (now - T0).total_seconds() >= LIMITS.window:
        assert verdict.phase is not _P.RUNNING
