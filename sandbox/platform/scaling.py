"""More correlators while signals wait, fewer when nothing does."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, MutableMapping

from cortexops.adapters.nats.looking import Scene, stream_watcher
from cortexops.domain.errors import CortexError
from cortexops.domain.scaling import Look, ScaleLimits, scale
from cortexops.settings_ingest import NatsSettings
from cortexops.telemetry import get_logger
from sandbox.platform.service import Service

CORRELATOR = "correlator"
_LOOK = 1.0  # seconds between looks at the backlog

_log = get_logger(__name__)


class Scaler:
    """Looks at the backlog and keeps the table of processes in step. The first correlator always stays.

    `make` builds a process by its name; `allowed` says whether processes may be started and stopped now.
    """

    def __init__(
        self,
        settings: NatsSettings,
        services: MutableMapping[str, Service],
        make: Callable[[str], Service],
        limits: ScaleLimits,
        *,
        allowed: Callable[[], bool] = lambda: True,
        look: float = _LOOK,
    ) -> None:
        self._settings = settings
        self._services = services
        self._make = make
        self._limits = limits
        self._allowed = allowed
        self._look = look
        kept = int(max(limits.busy_seconds, limits.idle_seconds) / look) + 3
        self._history: deque[Look] = deque(maxlen=kept)

    async def run(self) -> None:
        """Until it is cancelled; NATS may be away meanwhile."""
        if self._limits.most <= 1:
            return
        while True:
            try:
                async with stream_watcher(self._settings) as watcher:
                    while True:
                        await asyncio.sleep(self._look)
                        await self._step(await watcher.scene())
            except (CortexError, OSError) as error:
                self._history.clear()
                _log.debug("cannot look at the backlog", error=str(error))
                await asyncio.sleep(self._look)

    async def _step(self, scene: Scene) -> None:
        if not self._allowed():
            self._history.clear()
            return
        backlog = sum(scene.backlog.values()) + sum(scene.unread.values())
        self._history.append(Look(time.monotonic(), backlog))
        names = self._names()
        wanted = scale(backlog, len(names), self._history, self._limits)
        if wanted == len(names):
            return
        self._history.clear()
        if wanted > len(names):
            await self._add(len(names) + 1, backlog)
        else:
            await self._remove(names[-1])

    def _names(self) -> list[str]:
        """Correlators in the order in which they were added."""
        return [name for name in self._services if name.partition("-")[0] == CORRELATOR]

    async def _add(self, number: int, backlog: int) -> None:
        name = f"{CORRELATOR}-{number}"
        _log.info("signals wait: starting another correlator", process=name, backlog=backlog)
        service = self._make(name)
        await service.start()
        self._services[name] = service

    async def _remove(self, name: str) -> None:
        _log.info("nothing waits: stopping a correlator", process=name)
        await self._services.pop(name).stop()
