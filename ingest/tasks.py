"""Ending background tasks for certain."""

from __future__ import annotations

import asyncio

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
