"""A watch in batches: what has arrived while the last batch was dealt with comes as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from cortexops.domain.errors import CortexError
from cortexops.ports.cluster import WatchEvent
from ingest.tasks import end

MOST = 500


async def batches(
    stream: AsyncGenerator[WatchEvent, None], most: int = MOST
) -> AsyncGenerator[list[WatchEvent], None]:
    """At least one event and at most `most` at a time; never waits for more than the first.

    What breaks the stream is raised after everything that came before it. Closing this closes the stream.
    While nobody takes batches the stream is read `most` events ahead and then left alone.
    """
    arrived: asyncio.Queue[WatchEvent | None] = asyncio.Queue(most)
    failure: list[CortexError] = []

    async def read() -> None:
        try:
            async with aclosing(stream):
                async for event in stream:
                    await arrived.put(event)
        except CortexError as error:
            failure.append(error)
        await arrived.put(None)

    reader = asyncio.create_task(read(), name="watch-read")
    try:
        ended = False
        while not ended:
            batch = [event] if (event := await _next(arrived, reader)) is not None else []
            ended = not batch
            while not ended and len(batch) < most and not arrived.empty():
                event = arrived.get_nowait()
                if event is None:
                    ended = True
                else:
                    batch.append(event)
            if batch:
                yield batch
        if failure:
            raise failure[0]
    finally:
        await end(reader)


async def _next(arrived: asyncio.Queue[WatchEvent | None], reader: asyncio.Task[None]) -> WatchEvent | None:
    """The next event, None at the end. An error that nobody expected ends the reader: it is raised here."""
    taking = asyncio.create_task(arrived.get())
    try:
        await asyncio.wait({taking, reader}, return_when=asyncio.FIRST_COMPLETED)
        if not taking.done() and arrived.empty():
            reader.result()  # raises; a reader that ended well has left its mark in the queue
        return await taking
    finally:
        taking.cancel()
