"""The real Alertmanager as a yardstick, and a receiver that counts the groups that it notifies."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from aiohttp import web

from sandbox.engines.ports import free_port

PROGRAM = "prometheus-alertmanager"
GROUP_BY = ("cluster", "namespace", "app")
_START = 15.0  # seconds


class _Told(msgspec.Struct):
    fingerprint: str


class _Notified(msgspec.Struct):
    """Of a notification only this is decoded, so that counting costs little."""

    groupKey: str  # Alertmanager's spelling
    alerts: list[_Told]


_decoder = msgspec.json.Decoder(_Notified)


def installed() -> str | None:
    """The version, or None where there is no Alertmanager."""
    program = shutil.which(PROGRAM)
    if program is None:
        return None
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    words = (answer.stdout or answer.stderr).split()
    return words[words.index("version") + 1].rstrip(",") if "version" in words else "unknown"


class Receiver:
    """A webhook receiver on loopback."""

    def __init__(self) -> None:
        self.groups: set[str] = set()
        self.alerts: set[str] = set()
        self.notifications = 0
        self.url = ""
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{port}/"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        notified = _decoder.decode(await request.read())
        self.groups.add(notified.groupKey)
        self.alerts.update(alert.fingerprint for alert in notified.alerts)
        self.notifications += 1
        self._changed.set()
        return web.Response()

    async def until(self, groups: int, alerts: int, within: float) -> None:
        """Until it has been told of so many groups and of so many different alerts.

        Raises `TimeoutError` when that was not in time.
        """
        async with asyncio.timeout(within):
            while len(self.groups) < groups or len(self.alerts) < alerts:
                self._changed.clear()
                await self._changed.wait()


class Alertmanager:
    """One process with an empty store, that groups by workload and notifies the receiver."""

    def __init__(self, folder: Path, receiver: str, *, group_wait: float, group_interval: float) -> None:
        """`group_wait`: seconds before the first notice of a group; `group_interval`: before the next, which
        tells what came after."""
        self._folder = folder
        self._receiver = receiver
        self._wait = group_wait
        self._interval = group_interval
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/api/v2/alerts"

    async def __aenter__(self) -> Self:
        configuration = self._folder / "alertmanager.yml"
        configuration.write_text(
            f"""route:
  receiver: bench
  group_by: [{", ".join(GROUP_BY)}]
  group_wait: {round(self._wait * 1000)}ms
  group_interval: {round(self._interval * 1000)}ms
receivers:
  - name: bench
    webhook_configs:
      - url: {self._receiver}
""",
            encoding="utf-8",
        )
        program = shutil.which(PROGRAM)
        assert program is not None
        self._process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={configuration}",
            f"--storage.path={self._folder / 'store'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--cluster.listen-address=",
            "--log.level=error",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await self._ready()
        except BaseException:
            await self._end()
            raise
        return self

    async def _ready(self) -> None:
        end = time.monotonic() + _START
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"http://127.0.0.1:{self._port}/-/ready") as answer:
                        if answer.ok:
                            return
                except aiohttp.ClientError:
                    pass
                if time.monotonic() > end:
                    raise TimeoutError("Alertmanager did not start")
                await asyncio.sleep(0.05)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
