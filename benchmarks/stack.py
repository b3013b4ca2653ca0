"""The engines and some worker processes of the product, as `cortexops up` runs them, without a cluster."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg
import yaml

from cortexops.adapters.postgres.migrate import upgrade
from cortexops.adapters.temporal import SEARCH_ATTRIBUTES
from cortexops.settings_ingest import NatsSettings
from sandbox.engines.engines import Engines
from sandbox.engines.ports import free_port
from sandbox.platform.service import Service

_POLL = 0.02


class Process(Service):
    """One worker process; with `profile` a file that gets its hot functions when it ends."""

    profile: Path | None = None

    async def prepare(self) -> Sequence[str]:
        plain = list(await super().prepare())
        if self.profile is None:
            return plain
        return [sys.executable, "-m", "benchmarks.sampling", str(self.profile), *plain[3:]]

    def signal(self, number: signal.Signals) -> None:
        """Send the running process a signal."""
        if (pid := self.process.pid) is not None:
            os.kill(pid, number)

    def peak_mib(self) -> float:
        """Most memory that the running process has had resident, in MiB; 0 when it does not run."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return 0.0
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0


def cpu_seconds(pid: int | None) -> float:
    """Processor time that a process and its children, running and ended, have used."""
    parents: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
        used[int(entry.name)] = sum(int(ticks) for ticks in fields[11:15])
    total, waiting = 0, [] if pid is None else [pid]
    while waiting:
        one = waiting.pop()
        total += used.get(one, 0)
        waiting += parents.get(one, [])
    return total / os.sysconf("SC_CLK_TCK")


class Stack:
    """`processes` maps a name to the roles of that process. `memory`: Temporal in memory, Postgres unsynced."""

    def __init__(
        self,
        processes: Mapping[str, Sequence[str]],
        *,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        memory: bool = False,
        profiles: Path | None = None,
    ) -> None:
        self._roles = {name: tuple(roles) for name, roles in processes.items()}
        self._overrides = overrides or {}
        self._memory = memory
        self._profiles = profiles
        self._stack = AsyncExitStack()
        self.processes: dict[str, Process] = {}
        self.engines: Engines
        self.database: psycopg.AsyncConnection[Any]

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="cortexops-bench-")))
        folder.chmod(0o755)  # Postgres runs under an account of its own where we are root
        data = folder / "data"
        self.engines = Engines(data, persist=not self._memory, search_attributes=SEARCH_ATTRIBUTES)
        await self._stack.enter_async_context(self.engines)
        await asyncio.to_thread(upgrade, self.engines.postgres_dsn)
        self.database = await psycopg.AsyncConnection.connect(
            self.engines.postgres_plain_dsn, autocommit=True
        )
        self._stack.push_async_callback(self.database.close)
        self._folder = folder
        self._content = self._settings(data)
        self._stack.push_async_callback(self._stop_processes)
        await asyncio.gather(*(self.add(name, roles) for name, roles in self._roles.items()))

    async def add(self, name: str, roles: Sequence[str]) -> Process:
        """Start one more process. In the database its sessions carry its name as `bench.process`."""
        settings = self._folder / f"{name}.yaml"
        settings.touch(mode=0o600)
        dsn = f"{self.engines.postgres_dsn}?options={quote(f'-c bench.process={name}')}"
        settings.write_text(yaml.safe_dump({**self._content, "postgres": {"dsn": dsn}}), encoding="utf-8")
        process = self.processes[name] = Process(self._folder / "data", name, roles, settings)
        if self._profiles is not None:
            process.profile = (self._profiles / f"{name}.txt").resolve()
        await process.start()
        return process

    async def _stop_processes(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes.values()))

    def _settings(self, data: Path) -> dict[str, Any]:
        content: dict[str, Any] = {
            "data_dir": str(data),
            "temporal": {"address": self.engines.temporal_address},
            "nats": {"url": self.engines.nats_url},
            "postgres": {"dsn": self.engines.postgres_dsn},
            "gateway": {"port": free_port()},
            "log": {"level": "warning"},
            "people": [{"id": "bench", "token_sha256": secrets.token_hex(32)}],
        }
        for section, values in self._overrides.items():
            content[section] = {**content.get(section, {}), **values}
        return content

    async def cpu(self) -> dict[str, float]:
        """Processor seconds used so far, by process and engine."""
        pids = {component.name: component.pid for component in await self.engines.components()}
        pids |= {name: process.process.pid for name, process in self.processes.items()}
        return {name: cpu_seconds(pid) for name, pid in pids.items()}

    @property
    def nats(self) -> NatsSettings:
        """As the processes have them."""
        return NatsSettings.model_validate(self._content["nats"])

    @property
    def webhook_url(self) -> str:
        return f"{self.processes['gateway'].urls['gateway']}/webhooks/alertmanager"

    async def one(self, query: str) -> tuple[Any, ...]:
        """The first row of a query."""
        cursor = await self.database.execute(query)
        found = await cursor.fetchone()
        assert found is not None
        return tuple(found)

    async def settled(self) -> int:
        """Signals with a fate of their own in the database: a duplicate that reached a correlator has none. Read
        from the sums that go down with the fates: counting rows fifty times a second would be work of its own."""
        found = await self.one(
            "SELECT coalesce(sum(signals), 0) FROM fate_counts"
            " WHERE fate <> 'parked' AND reason NOT IN ('duplicate', 'stream_limit')"
        )
        return int(found[0])

    async def until_settled(self, count: int, within: float) -> None:
        """Raises `TimeoutError` when so many fates are not there in time."""
        async with asyncio.timeout(within):
            while await self.settled() < count:  # noqa: ASYNC110  # another process writes
                await asyncio.sleep(_POLL)
