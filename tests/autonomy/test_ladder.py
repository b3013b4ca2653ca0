"""The ladder as a function: what raises it, what lowers it, and what never happens."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.autonomy import (
    Ladder,
    Level,
    Outcome,
    Override,
    Place,
    Result,
    Step,
    assess,
    check_override,
    explained,
    lowest,
    override_for,
    wilson_lower,
)
from cortexops.domain.errors import InvalidInput
from tests.autonomy.support import NOW, outcome

DAY = timedelta(days=1)
LADDER = Ladder()
EASY = Ladder(approve=Step(trials=2, lower_bound=0.2), auto=Step(trials=3, lower_bound=0.4), block_hours=48)


def successes(count: int, *, before: timedelta = timedelta()) -> list[Outcome]:
    """One a day, the last at `before` ago."""
    return [outcome(Result.VERIFIED, NOW - before - DAY * i) for i in range(count)]


def an_override(level: Level, **changes: object) -> Override:
    base: dict[str, object] = {
        "id": "override-1", "level": level, "reason": "trial", "set_by": "ana",
        "since": NOW - DAY, "until": NOW + DAY,
    }  # fmt: skip
    return Override.model_validate({**base, **changes})


def test_without_outcomes_people_are_asked() -> None:
    found = assess([], "production", LADDER, NOW)
    assert (found.level, found.why, found.trials, found.lower_bound) == (Level.APPROVE, "start", 0, 0.0)


def test_ten_successes_and_no_fewer_earn_auto() -> None:
    assert assess(successes(9), "production", LADDER, NOW).level is Level.APPROVE
    found = assess(successes(10), "production", LADDER, NOW)
    assert (found.level, found.why, found.successes) == (Level.AUTO, "promoted", 10)
    assert found.lower_bound == pytest.approx(0.7225, abs=1e-4)


def test_many_trials_with_a_poor_share_earn_nothing() -> None:
    mixed = [outcome(Result.FAILED, NOW - DAY * i - timedelta(hours=1)) for i in range(8)]
    assert assess(successes(10) + mixed, "production", LADDER, NOW).level is Level.APPROVE


def test_failures_take_back_what_was_earned() -> None:
    earned = successes(12, before=DAY)
    failed = [outcome(Result.FAILED, NOW - timedelta(minutes=minute)) for minute in range(3)]
    found = assess([*earned, *failed], "production", LADDER, NOW)
    assert (found.level, found.why) == (Level.APPROVE, "worsened")
    assert assess(failed, "production", LADDER, NOW).level is Level.APPROVE  # the start was not earned


def test_a_rollback_lowers_at_once_by_one_step_and_blocks_for_a_week() -> None:
    rolled_back = outcome(Result.ROLLED_BACK, NOW - timedelta(hours=1))
    before = successes(30, before=timedelta(hours=2))
    found = assess([*before, rolled_back], "production", LADDER, NOW)
    assert (found.level, found.why) == (Level.APPROVE, "demoted")
    assert found.blocked_until == rolled_back.at + timedelta(days=7)
    soon = rolled_back.at + timedelta(days=6)
    later = rolled_back.at + timedelta(days=8)
    again = [*before, rolled_back, outcome(Result.VERIFIED, soon)]
    assert assess(again, "production", LADDER, soon).level is Level.APPROVE
    assert assess([*again, outcome(Result.VERIFIED, later)], "production", LADDER, later).level is Level.AUTO


def test_time_alone_raises_nothing() -> None:
    rolled_back = outcome(Result.ROLLED_BACK, NOW - timedelta(hours=1))
    found = assess(
        [*successes(30, before=timedelta(hours=2)), rolled_back], "production", LADDER, NOW + 20 * DAY
    )
    assert found.level is Level.APPROVE


def test_two_rollbacks_lower_two_steps_and_never_below_observe() -> None:
    two = [outcome(Result.ROLLED_BACK, NOW - DAY * i) for i in range(2)]
    assert assess(two, "", LADDER, NOW).level is Level.OBSERVE
    assert assess(two * 3, "", LADDER, NOW).level is Level.OBSERVE


def test_old_outcomes_are_no_evidence() -> None:
    assert assess(successes(10, before=100 * DAY), "", LADDER, NOW).trials == 0


def test_the_environment_caps_and_starts_the_level() -> None:
    ladder = Ladder(highest={"production": Level.SUGGEST}, start={"staging": Level.AUTO})
    production = assess(successes(30), "production", ladder, NOW)
    assert (production.level, production.cap) == (Level.SUGGEST, Level.SUGGEST)
    assert assess([], "staging", ladder, NOW).level is Level.AUTO
    assert assess([], "dev", ladder, NOW).level is Level.APPROVE


def test_shadow_mode_observes_whatever_was_earned_or_set() -> None:
    found = assess(successes(30), "staging", Ladder(shadow=True), NOW, an_override(Level.AUTO))
    assert (found.level, found.why) == (Level.OBSERVE, "shadow")


def test_a_person_sets_the_level_up_to_the_cap_and_rollbacks_since_then_lower_it() -> None:
    auto = an_override(Level.AUTO)
    assert assess([], "", LADDER, NOW, auto).level is Level.AUTO
    capped = assess([], "", Ladder(cap=Level.APPROVE), NOW, auto)
    assert (capped.level, capped.why) == (Level.APPROVE, "capped")
    since = [outcome(Result.ROLLED_BACK, NOW - timedelta(hours=1))]
    found = assess(since, "", LADDER, NOW, auto)
    assert (found.level, found.why) == (Level.APPROVE, "override_demoted")
    earlier = [outcome(Result.ROLLED_BACK, NOW - 2 * DAY)]
    assert assess(earlier, "", LADDER, NOW, auto).level is Level.AUTO


def test_the_closest_override_counts_and_of_equals_the_stricter() -> None:
    place = Place(cluster="east", namespace="shop", workload="Deployment/api", action="rollback_rollout")
    wide = an_override(Level.OBSERVE, id="wide")
    close = an_override(Level.AUTO, id="close", cluster="east", namespace="shop")
    strict = an_override(Level.SUGGEST, id="strict", cluster="east", action="rollback_rollout")
    elsewhere = an_override(Level.OBSERVE, id="else", workload="Deployment/web")
    over = an_override(Level.OBSERVE, id="over", cluster="east", namespace="shop", until=NOW)
    given_ = [wide, close, elsewhere, over]
    assert override_for(given_, place, NOW) == close
    assert override_for([*given_, strict], place, NOW) == strict
    assert override_for([elsewhere, over], place, NOW) is None


def test_an_override_needs_a_reason_and_an_end() -> None:
    for changes, field in (
        ({"reason": "  "}, "reason"),
        ({"until": NOW}, "until"),
        ({"until": NOW + 91 * DAY}, "until"),
    ):
        with pytest.raises(InvalidInput, match=field):
            check_override(an_override(Level.AUTO, **changes), NOW)


def test_the_explanation_names_evidence_block_override_and_what_is_missing() -> None:
    rolled_back = [*successes(4), outcome(Result.ROLLED_BACK, NOW)]
    override = an_override(Level.APPROVE)
    text = " ".join(explained(assess(rolled_back, "", LADDER, NOW, override), LADDER, override))
    for part in ("4 of 5 changes", "ana set approve", "one step each", "does not rise before", "To rise to"):
        assert part in text
    assert "Shadow mode" in " ".join(explained(assess([], "", Ladder(shadow=True), NOW), LADDER))


results = st.sampled_from(list(Result))
outcomes = st.lists(
    st.builds(outcome, results, st.integers(0, 60).map(lambda half_days: NOW - half_days * DAY / 2)),
    max_size=25,
)
levels = st.sampled_from(list(Level))
ladders = st.builds(
    Ladder,
    default=levels,
    cap=levels,
    highest=st.dictionaries(st.just("prod"), levels),
    approve=st.just(EASY.approve),
    auto=st.just(EASY.auto),
    suggest=st.just(EASY.suggest),
    block_hours=st.sampled_from([0.0, 12.0, 48.0, 168.0]),
    window_days=st.sampled_from([3.0, 10.0, 90.0]),
)
moments = st.integers(0, 60).map(lambda half_days: NOW - half_days * DAY / 2)
overrides = st.none() | levels.map(an_override)


@given(outcomes, ladders, overrides)
def test_no_level_is_above_the_cap(past: list[Outcome], ladder: Ladder, override: Override | None) -> None:
    found = assess(past, "prod", ladder, NOW, override)
    assert found.level.rank <= found.cap.rank <= ladder.cap.rank


@given(outcomes, ladders, moments)
def test_one_more_success_never_lowers(past: list[Outcome], ladder: Ladder, at: object) -> None:
    more = [*past, outcome(Result.VERIFIED, at)]  # type: ignore[arg-type]
    assert assess(more, "", ladder, NOW).level.rank >= assess(past, "", ladder, NOW).level.rank


@given(outcomes, ladders, moments, st.sampled_from([Result.ROLLED_BACK, Result.FAILED]))
def test_one_more_failure_or_rollback_never_raises(
    past: list[Outcome], ladder: Ladder, at: object, result: Result
) -> None:
    more = [*past, outcome(result, at)]  # type: ignore[arg-type]
    assert assess(more, "", ladder, NOW).level.rank <= assess(past, "", ladder, NOW).level.rank


@given(outcomes, ladders)
def test_a_rollback_now_lowers_by_exactly_one(past: list[Outcome], ladder: Ladder) -> None:
    before = assess(past, "", ladder, NOW).level
    after = assess([*past, outcome(Result.ROLLED_BACK, NOW + DAY)], "", ladder, NOW + DAY).level
    assert after is before.lower()


@given(outcomes.flatmap(lambda past: st.tuples(st.just(past), st.permutations(past))), ladders)
def test_the_order_in_which_outcomes_are_told_does_not_matter(
    told: tuple[list[Outcome], list[Outcome]], ladder: Ladder
) -> None:
    assert assess(told[0], "", ladder, NOW) == assess(told[1], "", ladder, NOW)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_lower_bound_rises_with_success_and_falls_with_failure(good: int, bad: int) -> None:
    trials = good + bad
    here = wilson_lower(good, trials)
    assert 0 <= here <= (good / trials if trials else 0)
    assert wilson_lower(good + 1, trials + 1) >= here
    assert wilson_lower(good, trials + 1) <= here


def test_levels_are_ordered() -> None:
    assert [level.higher() for level in Level] == [Level.SUGGEST, Level.APPROVE, Level.AUTO, Level.AUTO]
    assert lowest(Level.AUTO, Level.SUGGEST) is Level.SUGGEST
