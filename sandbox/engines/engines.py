"""All engines of one data folder: started together, watched, stopped together."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import Field

from cortexops.domain.errors import CortexError, NotFound
from cortexops.domain.resource import Frozen
from sandbox.engines.engine import Engine
from sandbox.engines.extra import require_extra
from sandbox.engines.lock import DataLock
from sandbox.engines.nats import NatsEndpoint, NatsEngine
from sandbox.engines.orphans import end_orphan
from sandbox.engines.ports import LOOPBACK, PortBook
from sandbox.engines.postgres import PostgresEndpoint, PostgresEngine
from sandbox.engines.temporal import TemporalEndpoint, TemporalEngine

DEFAULT_DATA_DIR = Path(".cortexops")
_LOOK = 0.1  # seconds between looks at the processes
_FIRST_PAUSE = 0.2  # seconds before the first restart; doubled for each that follows soon
_LONGEST_PAUSE = 10.0
_CALM = 60.0  # seconds of service after which the pause starts over

_log = logging.getLogger(__name__)


class Component(Frozen):
    """One line of the status: an engine, where it listens, and how it is."""

    name: str
    address: str
    pid: int | None
    restarts: int
    problem: str | None = Field(description="None when it serves, else the reason in one line")


class Engines:
    """Temporal, NATS and Postgres on one data folder.

    Use as `async with Engines(...) as engines`, in the thread that should own them: the engines end when
    that thread ends. `supervised` may be set to False at any time, so that a drill can watch an engine stay
    down; set it to True again and the engine comes back.
    """

    def __init__(
        self,
        data_dir: Path = DEFAULT_DATA_DIR,
        *,
        ports: Mapping[str, int] | None = None,
        persist: bool = True,
        search_attributes: Mapping[str, str] | None = None,
        dynamic_config: Mapping[str, str] | None = None,
        supervise: bool = True,
    ) -> None:
        """Nothing is started or written yet.

        `ports` maps names of `sandbox.engines.ports.NAMES` to fixed ports; the others are
        chosen free and kept for the next start on the same folder. With `persist=False` Temporal stays in
        memory, Postgres does not sync, and all data (below `data_dir/ephemeral`) goes at `stop`.
        """
        root = data_dir.resolve()
        self.data_dir = root if persist else root / "ephemeral"
        self._root = root
        self._persist = persist
        self._search_attributes = dict(search_attributes or {})
        self._dynamic_config = dict(dynamic_config or {})
        self.supervised = supervise
        self._lock = DataLock(root)
        self._ports = PortBook(root / "ports.json", ports)
        self._engines: dict[str, Engine] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._busy: dict[str, asyncio.Lock] = {}
        self._restarts: dict[str, int] = {}
        self.start_seconds: dict[str, float] = {}
        """How long each engine took to serve, in seconds, at its last start."""

    async def start(self) -> None:
        """Start all engines in parallel.

        Raises Conflict when another process uses the folder or a given port is taken, PermanentError naming
        the missing extra, or the first engine's error; in every case nothing keeps running.
        """
        require_extra()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            # A killed owner's children may still hold the ports that this folder remembers.
            await asyncio.gather(*(end_orphan(file) for file in (self.data_dir / "run").glob("*.pid")))
            if not self._persist:
                shutil.rmtree(self.data_dir, ignore_errors=True)
            self._ports.settle()
            await self._start_all()
        except BaseException:
            await self.stop()
            raise
        self._watchers = [
            asyncio.create_task(self._watch(name), name=f"engine watch: {name}") for name in self._engines
        ]

    async def _start_all(self) -> None:
        while True:
            self._engines = {engine.name: engine for engine in self._build()}
            self._busy = {name: asyncio.Lock() for name in self._engines}
            self._restarts = dict.fromkeys(self._engines, 0)
            try:
                async with asyncio.TaskGroup() as group:
                    for engine in self._engines.values():
                        group.create_task(self._start_one(engine))
                return
            except* CortexError as failures:
                first = _first(failures)
            await self._stop_engines()
            # A chosen port may have been taken in the moment before the engine bound it: choose again.
            if not self._ports.settle():
                raise first

    async def _start_one(self, engine: Engine) -> None:
        began = time.monotonic()
        await engine.start()
        self.start_seconds[engine.name] = time.monotonic() - began
        _log.info(
            "%s serves after %.2f s (pid %s)",
            engine.name,
            self.start_seconds[engine.name],
            engine.process.pid,
        )

    def _build(self) -> list[Engine]:
        ports = self._ports
        return [
            TemporalEngine(
                self.data_dir,
                port=ports["temporal"],
                ui_port=ports["temporal_ui"],
                http_port=ports["temporal_http"],
                metrics_port=ports["temporal_metrics"],
                persist=self._persist,
                search_attributes=self._search_attributes,
                dynamic_config=self._dynamic_config,
            ),
            NatsEngine(self.data_dir, port=ports["nats"], monitor_port=ports["nats_monitor"]),
            PostgresEngine(self.data_dir, port=ports["postgres"], fsync=self._persist),
        ]

    async def stop(self) -> None:
        """Stop everything in order and give the folder free. Harmless when nothing runs."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        try:
            await self._stop_engines()
            if not self._persist and self._lock.held:
                shutil.rmtree(self.data_dir, ignore_errors=True)
        finally:
            self._lock.release()

    async def _stop_engines(self) -> None:
        await asyncio.gather(*(engine.stop() for engine in self._engines.values()))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _watch(self, name: str) -> None:
        engine = self._engines[name]
        pause = _FIRST_PAUSE
        serving_since = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK)
            if engine.process.running or not self.supervised:
                continue
            if time.monotonic() - serving_since > _CALM:
                pause = _FIRST_PAUSE
            _log.warning("%s ended (%s); starting it again in %.1f s", name, engine.process.returncode, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            async with self._busy[name]:
                if engine.process.running or not self.supervised:
                    continue
                self._restarts[name] += 1
                try:
                    await self._start_one(engine)
                except (CortexError, OSError) as error:
                    _log.error("%s could not be started again: %s", name, error)
                serving_since = time.monotonic()

    async def restart(self, name: str) -> None:
        """Stop and start one engine on the same ports. Raises NotFound for another name."""
        engine = self._engine(name)
        async with self._busy[name]:
            await engine.stop()
            await self._start_one(engine)

    def kill9(self, name: str) -> int:
        """Crash one engine, for drills; answers the process id it had. Raises NotFound for another name."""
        return self._engine(name).kill9()

    def _engine(self, name: str) -> Engine:
        try:
            return self._engines[name]
        except KeyError:
            raise NotFound(f"no running engine is called {name!r}") from None

    @property
    def temporal(self) -> TemporalEndpoint:
        engine = self._engine("temporal")
        assert isinstance(engine, TemporalEngine)
        return engine.endpoint

    @property
    def nats(self) -> NatsEndpoint:
        engine = self._engine("nats")
        assert isinstance(engine, NatsEngine)
        return engine.endpoint

    @property
    def postgres(self) -> PostgresEndpoint:
        engine = self._engine("postgres")
        assert isinstance(engine, PostgresEngine)
        return engine.endpoint

    @property
    def temporal_address(self) -> str:
        return self.temporal.address

    @property
    def temporal_ui_url(self) -> str:
        return self.temporal.ui_url

    @property
    def nats_url(self) -> str:
        return self.nats.url

    @property
    def postgres_dsn(self) -> str:
        """For SQLAlchemy, with the password."""
        return self.postgres.dsn

    @property
    def postgres_plain_dsn(self) -> str:
        """For psycopg and psql, with the password."""
        return self.postgres.plain_dsn

    @property
    def restarts(self) -> Mapping[str, int]:
        """How often supervision started each engine again."""
        return dict(self._restarts)

    def environment(self) -> dict[str, str]:
        """Settings that point the product at these engines, with the password of Postgres."""
        return {
            "CORTEXOPS_TEMPORAL__ADDRESS": self.temporal.address,
            "CORTEXOPS_TEMPORAL__NAMESPACE": self.temporal.namespace,
            "CORTEXOPS_TEMPORAL__UI_URL": self.temporal.ui_url,
            "CORTEXOPS_NATS__URL": self.nats.url,
            "CORTEXOPS_POSTGRES__DSN": self.postgres.dsn,
        }

    async def components(self) -> list[Component]:
        """How each engine is now, for a status line. Holds no password."""
        addresses = {
            "temporal": self.temporal.address,
            "nats": self.nats.url,
            "postgres": f"{LOOPBACK}:{self.postgres.port}",
        }
        problems = await asyncio.gather(*(engine.healthy() for engine in self._engines.values()))
        return [
            Component(
                name=name,
                address=addresses[name],
                pid=engine.process.pid,
                restarts=self._restarts[name],
                problem=problem,
            )
            for (name, engine), problem in zip(self._engines.items(), problems, strict=True)
        ]


def _first(failures: ExceptionGroup[CortexError]) -> CortexError:
    for failure in failures.exceptions:
        return _first(failure) if isinstance(failure, ExceptionGroup) else failure
    raise AssertionError("an exception group is never empty")
