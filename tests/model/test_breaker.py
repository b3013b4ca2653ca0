"""The breaker closes again, lets one probe through at a time, and each provider has its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from activities.reasoning import Reasoner
from cortexops.domain.breaker import Breaker, Breakers, BreakerState
from cortexops.domain.reasoning import Ask, ModelLimits, begin
from cortexops.domain.reasoning_material import brief_of
from cortexops.domain.reasoning_use import Outcome, Stage
from tests.model.support import a_diagnosis, assistant_for, settings_for
from tests.support.model import FakeModel, Mood

_STEPS = st.lists(
    st.tuples(st.floats(0, 40, allow_nan=False), st.sampled_from(["ask", "ok", "fail", "gone"])), max_size=60
)


def played(steps: list[tuple[float, str]], failures: int) -> tuple[Breaker, float]:
    """A breaker after these steps, checked at each."""
    breaker, now = Breaker(failures=failures, open_seconds=30), 0.0
    probe_at: float | None = None
    for wait, what in steps:
        now += wait
        before = breaker
        if what == "ask":
            allowed, breaker = breaker.ask(now)
            if before.state is BreakerState.CLOSED:
                assert allowed and breaker == before
            elif allowed:
                assert breaker.state is BreakerState.HALF_OPEN
                assert now - before.since >= 30
                assert probe_at is None or now - probe_at >= 30, "two probes at once"
                probe_at = now
            else:
                assert breaker == before and now - before.since < 30
        elif what == "ok":
            breaker, probe_at = breaker.succeeded(), None
            assert breaker.state is BreakerState.CLOSED and breaker.failed == 0
        elif what == "fail":
            breaker = breaker.failed_at(now)
            if before.state is BreakerState.HALF_OPEN:
                assert breaker.state is BreakerState.OPEN and breaker.since == now
                probe_at = None
            if before.state is BreakerState.CLOSED:
                assert (breaker.state is BreakerState.OPEN) == (before.failed + 1 >= failures)
        else:
            breaker, probe_at = breaker.gave_up(), None
    return breaker, now


@given(_STEPS, st.integers(1, 5))
def test_from_wherever_it_is_a_breaker_closes_again(steps: list[tuple[float, str]], failures: int) -> None:
    breaker, now = played(steps, failures)
    allowed, breaker = breaker.ask(now + 31)
    assert allowed
    if breaker.state is BreakerState.HALF_OPEN:
        second, _ = breaker.ask(now + 31.5)
        assert not second
    breaker = breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.ask(now + 32) == (True, breaker)


@given(_STEPS)
def test_one_providers_failures_never_open_anothers_breaker(steps: list[tuple[float, str]]) -> None:
    breakers, now = Breakers(failures=2, open_seconds=30), 0.0
    for wait, what in steps:
        now += wait
        if breakers.may_call("bad", now) and what == "fail":
            breakers.failed("bad", now)
        assert breakers.may_call("good", now)
        assert breakers.of("good").state is BreakerState.CLOSED


async def test_a_provider_that_fails_is_left_alone_and_asked_again_later() -> None:
    now = 0.0
    async with FakeModel(Mood.ERROR_500) as model:
        settings = settings_for(model, breaker_failures=2, breaker_seconds=30)
        async with assistant_for(settings) as assistant:
            reasoner = Reasoner(assistant.reasoner._model, settings, clock=lambda: now)
            state = begin(brief_of(a_diagnosis(), ()), ModelLimits())
            ask = Ask(stage=Stage.EXTRACT, round=1)

            async def once() -> Outcome:
                return (await reasoner.think(state, ask, 60)).outcome

            assert [await once() for _ in range(4)] == [
                Outcome.UNAVAILABLE, Outcome.UNAVAILABLE, Outcome.BREAKER_OPEN, Outcome.BREAKER_OPEN,
            ]  # fmt: skip
            assert len(model.requests) == 2
            now = 31.0
            assert await once() is Outcome.UNAVAILABLE  # the probe fails: open again
            assert await once() is Outcome.BREAKER_OPEN
            now, model.mood = 62.0, Mood.GOOD
            assert await once() is Outcome.ANSWERED  # the probe succeeds: closed
            assert await once() is Outcome.ANSWERED
            assert len(model.requests) == 5


async def test_another_model_of_the_same_endpoint_is_another_provider() -> None:
    async with FakeModel() as model:
        model.moods = {"big": Mood.ERROR_500}
        stage = settings_for(model).rank
        settings = settings_for(
            model, rank=stage.model_copy(update={"name": "big"}), breaker_failures=1, breaker_seconds=300
        )
        async with assistant_for(settings) as assistant:
            state = begin(brief_of(a_diagnosis(), ()), ModelLimits())
            rank, extract = Ask(stage=Stage.RANK, round=1), Ask(stage=Stage.EXTRACT, round=1)
            think = assistant.reasoner.think
            assert (await think(state, rank, 60)).outcome is Outcome.UNAVAILABLE
            assert (await think(state, rank, 60)).outcome is Outcome.BREAKER_OPEN
            assert (await think(state, extract, 60)).outcome is Outcome.ANSWERED
