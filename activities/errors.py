"""Our errors as Temporal understands them, and a heartbeat for activities that wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from temporalio import activity
from temporalio.exceptions import ApplicationError

from cortexops.domain.errors import CortexError, PermanentError, TemporaryError
from cortexops.domain.outgoing import WITHHELD, Destination, Withheld, outgoing
from cortexops.metrics import count_masked

_BEAT = 3.0  # seconds; well below every heartbeat time-out in workflows.options


@contextmanager
def for_temporal() -> Iterator[None]:
    """Temporary errors are retried after their delay; permanent ones are not retried. Their texts are masked."""
    try:
        yield
    except TemporaryError as error:
        raise ApplicationError(told(error), type=type(error).__name__, next_retry_delay=error.delay) from None
    except PermanentError as error:
        raise ApplicationError(told(error), type=type(error).__name__, non_retryable=True) from None


def told(error: CortexError) -> str:
    """The error's text as Temporal's history may keep it: what it quotes of an answer may hold a secret.

    For the same reason the cause is not chained: it would be written there as it is.
    """
    try:
        return outgoing(str(error), Destination.AUDIT, count=count_masked)
    except Withheld:
        return WITHHELD


@asynccontextmanager
async def heartbeating() -> AsyncIterator[None]:
    """Tell Temporal that the activity lives, so that the death of its worker is noticed in seconds."""
    if not activity.in_activity():
        yield
        return

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(_BEAT)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
