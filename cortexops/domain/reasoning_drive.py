"""Carrying a reasoning out, step by step, wherever the steps are done: in a workflow or in one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cortexops.domain.reasoning import (
    Ask,
    Done,
    Gather,
    Thinking,
    Thought,
    answered,
    gathered,
    next_step,
    slim,
)
from cortexops.domain.reasoning_answers import Gathered
from cortexops.domain.reasoning_use import Outcome

Think = Callable[[Thinking, Ask, float], Awaitable[Thought]]
"""One call, with the seconds that are left."""
More = Callable[[Thinking, Gather, float], Awaitable[Gathered | None]]
"""Further reading; None when it failed."""


async def drive(
    state: Thinking,
    *,
    elapsed: Callable[[], float],
    think: Think,
    more: More,
    wait: Callable[[float], Awaitable[None]],
) -> tuple[Thinking, Outcome]:
    """Until nothing is left to ask. Ends in any case: calls, rounds and repetitions are bounded."""
    while True:
        step = next_step(state, elapsed())
        if isinstance(step, Done):
            return state, step.outcome
        if isinstance(step, Gather):
            state = gathered(state, await more(state, step, state.limits.seconds - elapsed()))
            continue
        if step.wait:
            await wait(step.wait)
        left = min(state.limits.call_seconds, state.limits.seconds - elapsed())
        state = answered(state, await think(slim(state), step, max(1.0, left)))
