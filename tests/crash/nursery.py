"""The parent of the processes that die: starts workers, tells when they end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from sandbox.engines.launch import launch_command
from tests.crash.worker import Job
from tests.support.engines import ROOT


class Nursery:
    """Use as an async context manager. Every worker is a process of its own, forked from one that is warm."""

    def __init__(self, folder: Path) -> None:
        self._stderr = folder / "workers.stderr"
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self._one = asyncio.Lock()

    async def __aenter__(self) -> Nursery:
        with self._stderr.open("ab") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                *launch_command([sys.executable, "-m", "tests.crash.worker"]),  # it dies with us
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
            )
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

    @property
    def pid(self) -> int:
        """Of the warm process."""
        return self._process.pid

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if "pid" in told:
                self._ends[told["pid"]] = asyncio.get_running_loop().create_future()
                self._born.put_nowait(told["pid"])
            else:
                self._ends[told["ended"]].set_result(told["status"])

    async def start(self, job: Job) -> int:
        """A new worker's process id."""
        assert self._process.stdin is not None
        async with self._one:
            self._process.stdin.write(job.model_dump_json().encode() + b"\n")
            await self._process.stdin.drain()
            return await asyncio.wait_for(self._born.get(), 20)

    async def ended(self, pid: int) -> int:
        """The exit status, once there is one; negative: the signal."""
        return await asyncio.shield(self._ends[pid])

    async def end(self, pid: int) -> None:
        """kill -9; harmless when it has ended."""
        if not self._ends[pid].done():
            os.kill(pid, signal.SIGKILL)
        await self.ended(pid)
