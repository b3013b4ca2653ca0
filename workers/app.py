"""A process: one or more roles, started in order, stopped in reverse, a failed start rolled back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Protocol, runtime_checkable

from cortexops.settings import Settings
from cortexops.telemetry import get_logger
from workers.roles import ROLES
from workers.serving import HttpServer, diagnostics_app
from workers.wiring import Wiring

_log = get_logger(__name__)


class Part(Protocol):
    """Something that runs in a process."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@runtime_checkable
class Watched(Protocol):
    """A part whose health is told under a name of its own."""

    component: str

    def health(self) -> str | None:
        """What is wrong, or None."""
        ...


class WorkerApp:
    """The roles of one process. Tests run it in-process; `python -m workers` runs it until a signal comes."""

    def __init__(self, settings: Settings, roles: list[str]) -> None:
        self._settings = settings
        self._roles = roles
        self._stack = AsyncExitStack()
        self._checks: list[Callable[[], Awaitable[dict[str, str | None]]]] = []
        self._watched: list[Watched] = []
        self.urls: dict[str, str] = {}

    async def start(self) -> None:
        """Raises what the first part raises; nothing keeps running then."""
        try:
            wiring = await self._stack.enter_async_context(Wiring(self._settings, "+".join(self._roles)))
            self._checks.append(wiring.components)
            for role in self._roles:
                for part in await ROLES[role](wiring, self.components, self.urls):
                    await part.start()
                    self._stack.push_async_callback(part.stop)
                    if isinstance(part, Watched):
                        self._watched.append(part)
                    if isinstance(part, HttpServer):
                        self.urls[role] = part.url
                _log.info("role started", role=role)
            if not self.urls:
                worker = self._settings.worker
                token = worker.metrics_token.get_secret_value() if worker.metrics_token else None
                app = diagnostics_app(self.components, token)
                server = HttpServer(app, worker.metrics_host, worker.metrics_port)
                await server.start()
                self._stack.push_async_callback(server.stop)
                self.urls["diagnostics"] = server.url
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self._stack.aclose()

    async def components(self) -> dict[str, str | None]:
        """Health of everything in this process, by name."""
        found: dict[str, str | None] = {}
        for check in self._checks:
            found.update(await check())
        found.update((part.component, part.health()) for part in self._watched)
        return found


async def run_until_signal(app: WorkerApp, ready: Callable[[dict[str, str]], None]) -> None:
    """Start, say so, wait for SIGINT or SIGTERM, stop."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    starting = asyncio.create_task(app.start())
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not starting.done():
            starting.cancel()
        await starting
        ready(app.urls)
        await waiting
    except asyncio.CancelledError:
        return
    finally:
        waiting.cancel()
        await app.stop()
