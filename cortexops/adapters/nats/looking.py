"""A look at the stream as it is, changing nothing: for checks and for deciding how many readers there must be."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from nats.js.errors import APIError, NotFoundError

from cortexops.adapters.nats.bus import JetStreamBus
from cortexops.adapters.nats.connection import CLIENT_ERRORS
from cortexops.adapters.nats.streams import filter_of
from cortexops.domain.errors import NotFound, TemporaryError
from cortexops.ports.bus import StreamState
from cortexops.settings_ingest import NatsSettings

_partition = re.compile(r"\{\{\s*partition\((\d+),")


class Scene(NamedTuple):
    """The stream at one moment. Taken before the books are read: what is settled meanwhile is then counted
    twice, and nothing seems lost that is not."""

    state: StreamState
    partitions: int  # that it is divided into; 0 when it is not divided
    backlog: dict[int, int]  # messages not reported done, of the partitions that have a reader
    unread: dict[int, int]  # messages of those that have none


class StreamWatcher:
    """Looks at one stream over a connection that comes back by itself."""

    def __init__(self, settings: NatsSettings) -> None:
        self._stream = settings.stream
        self._bus = JetStreamBus(settings)

    async def open(self) -> None:
        """Raises `TemporaryError` when NATS is away."""
        await self._bus._connection.open()

    async def close(self) -> None:
        await self._bus.close()

    async def scene(self) -> Scene:
        """Raises `NotFound` when there is no such stream, `TemporaryError` when JetStream does not answer."""
        jetstream = self._bus._connection.client.jetstream()
        try:
            info = await jetstream.stream_info(self._stream)
            state = await self._bus.stream()
            partitions = _divided(info.config.subject_transform.dest if info.config.subject_transform else "")
            backlog = await self._bus.backlog(max(partitions, 1))
            unread = {}
            for number in set(range(partitions)) - set(backlog):
                counted = await jetstream.stream_info(self._stream, subjects_filter=filter_of(number))
                unread[number] = sum((counted.state.subjects or {}).values())
        except NotFoundError:
            raise NotFound(f"there is no stream {self._stream}: a gateway makes it when it starts") from None
        except (APIError, *CLIENT_ERRORS) as error:
            raise TemporaryError(f"JetStream does not answer: {type(error).__name__}") from None
        return Scene(state, partitions, backlog, unread)


def _divided(destination: str) -> int:
    found = _partition.search(destination)
    return int(found[1]) if found else 0


@asynccontextmanager
async def stream_watcher(settings: NatsSettings) -> AsyncIterator[StreamWatcher]:
    """One that is open. Raises `TemporaryError` when NATS is away."""
    watcher = StreamWatcher(settings)
    await watcher.open()
    try:
        yield watcher
    finally:
        await watcher.close()
