"""Background tasks: ending them for certain, and noticing that one has ended by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

_PATIENCE = 0.2  # seconds


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel until each has ended. One cancellation is not enough: `asyncio.wait_for`, which client libraries
    use, may swallow it when its result comes at the same moment."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_PATIENCE)
    await asyncio.gather(*tasks, return_exceptions=True)


def ended(tasks: Iterable[asyncio.Task[None]]) -> str | None:
    """Which of them has ended though nobody cancelled it, and of what; None while all run."""
    for task in tasks:
        if task.done() and not task.cancelled():
            error = task.exception()
            return f"{task.get_name()} has ended: {type(error).__name__ if error else 'no error'}"
    return None
