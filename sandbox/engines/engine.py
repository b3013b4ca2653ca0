"""What the three engines have in common."""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from sandbox.engines.ports import LOOPBACK
from sandbox.engines.process import ChildProcess


class Folders:
    """Where one engine keeps things, all below the data folder."""

    def __init__(self, data_dir: Path, name: str) -> None:
        self.data = data_dir / name
        self.run = data_dir / "run"
        self.logs = data_dir / "logs"

    def create(self) -> None:
        for folder in (self.data, self.run, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


class Engine(ABC):
    """One embedded server. `start` after `stop` or after a crash continues on the same data and ports."""

    name: str
    stop_signal = signal.SIGTERM
    death_signal = signal.SIGKILL

    def __init__(self, data_dir: Path) -> None:
        self.folders = Folders(data_dir.resolve(), self.name)
        self.process = ChildProcess(
            self.name,
            run_dir=self.folders.run,
            log_dir=self.folders.logs,
            cwd=self.folders.data,
            stop_signal=self.stop_signal,
            death_signal=self.death_signal,
        )

    @abstractmethod
    async def prepare(self) -> Sequence[str]:
        """Make the data folder ready and give the command line to run."""

    @abstractmethod
    async def healthy(self) -> str | None:
        """None when the engine serves, else the reason in one line. Never raises for a sick engine."""

    async def opened(self) -> None:  # noqa: B027
        """Called when the engine serves, before `start` returns."""

    async def start(self) -> None:
        """Start and wait until it serves. Raises PermanentError or TemporaryError with nothing running."""
        self.folders.create()
        command = await self.prepare()
        await self.process.start(command, self.healthy)
        try:
            await self.opened()
        except BaseException:
            await self.process.stop()
            raise

    async def stop(self) -> None:
        """Stop in order; the data stays."""
        await self.process.stop()

    async def restart(self) -> None:
        """Stop in order and start again on the same ports."""
        await self.stop()
        await self.start()

    def kill9(self) -> int:
        """Crash the engine, for drills; answers the process id it had."""
        return self.process.kill9()

    def _not_running(self) -> str | None:
        if self.process.running:
            return None
        code = self.process.returncode
        return "not started" if code is None else f"exited with {code}"


async def refused(port: int) -> str | None:
    """None when something accepts connections on the loopback port, else the reason."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(LOOPBACK, port), 2.0)
    except (OSError, TimeoutError) as error:
        return f"port {port} does not accept connections ({type(error).__name__})"
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass  # the other side was faster
    return None
