"""Everything that `cortexops up` runs."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from cortexops.adapters.postgres.migrate import upgrade
from cortexops.adapters.temporal import SEARCH_ATTRIBUTES
from cortexops.domain.errors import CortexError
from cortexops.domain.resource import Frozen
from cortexops.domain.scaling import ScaleLimits
from cortexops.settings import Settings, load_settings
from cortexops.telemetry import get_logger
from sandbox.cluster.simulation import SimulatedCluster
from sandbox.engines.engines import Engines
from sandbox.engines.ports import free_port
from sandbox.platform.scaling import CORRELATOR, Scaler
from sandbox.platform.service import Service

_log = get_logger(__name__)
_LOOK = 0.2
_PROCESSES: dict[str, tuple[str, ...]] = {
    "front": ("gateway", "console"),
    CORRELATOR: ("correlator",),
    "orchestrator": ("orchestrator", "investigator"),
    "remediator": ("remediator",),
}
"""Few processes, so that a laptop starts quickly; the writing identity still has one of its own."""

QUICK = {
    "verification_window_seconds": 14,
    "verification_stable_seconds": 3,
    "verification_interval_seconds": 0.5,
}
"""Times for a simulated cluster that runs ten times as fast as a real one."""


class Part(Frozen):
    """One line of the status."""

    name: str
    address: str
    problem: str | None
    restarts: int


class Platform:
    """Engines, cluster and workers on one data folder.

    `kubeconfig` names a real cluster; without it a simulated one is started. `supervised` may be switched off
    so that a drill can watch a dead process stay dead. While signals wait, correlators are added, at most
    `worker.max_correlators` of them; `scaling` says otherwise when that happens.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        kubeconfig: Path | None = None,
        context: str | None = None,
        cluster: str = "sandbox",
        speed: float = 10.0,
        people: Sequence[dict[str, Any]] = (),
        overrides: dict[str, Any] | None = None,
        scaling: ScaleLimits | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self._kubeconfig, self._context, self._cluster_name = kubeconfig, context, cluster
        self._people = list(people)
        self._overrides = overrides or {}
        self._scaling = scaling
        self.engines = Engines(self.data_dir, search_attributes=SEARCH_ATTRIBUTES)
        self.cluster = None if kubeconfig else SimulatedCluster(cluster, speed=speed)
        self.services: dict[str, Service] = {}
        self.restarts: dict[str, int] = {}
        self.supervised = True
        self.token = ""
        self.start_seconds = 0.0
        self._stack = AsyncExitStack()

    @property
    def settings_file(self) -> Path:
        return self.data_dir / "settings.yaml"

    @property
    def settings(self) -> Settings:
        return load_settings(self.settings_file)

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.gateway.port}"

    @property
    def console_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.console.port}"

    async def start(self) -> None:
        """Start all; a failed start leaves nothing running. Raises the first part's error."""
        began = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stack.enter_async_context(self.engines))
                if self.cluster is not None:
                    group.create_task(self.cluster.start())
            if self.cluster is not None:
                self._stack.push_async_callback(self.cluster.stop)
            await asyncio.to_thread(upgrade, self.engines.postgres_dsn)
            self._write_settings()
            self.services = {
                name: Service(self.data_dir, name, roles, self.settings_file)
                for name, roles in _PROCESSES.items()
            }
            self._stack.push_async_callback(self._stop_services)
            async with asyncio.TaskGroup() as group:
                for service in self.services.values():
                    group.create_task(service.start())
            for work in (self._watch(), self._scaler().run()):
                self._stack.push_async_callback(_ended, asyncio.create_task(work))
        except BaseExceptionGroup as failures:
            await self.stop()
            raise _first(failures) from None
        except BaseException:
            await self.stop()
            raise
        self.start_seconds = time.monotonic() - began

    async def stop(self) -> None:
        await self._stack.aclose()

    async def _stop_services(self) -> None:
        """All at once: correlators give their partitions back to nobody, and each takes its time."""
        await asyncio.gather(*(service.stop() for service in self.services.values()))

    def _scaler(self) -> Scaler:
        settings = self.settings
        most = min(settings.worker.max_correlators, settings.nats.partitions)
        limits = self._scaling or ScaleLimits(most)
        return Scaler(settings.nats, self.services, self._another, limits, allowed=lambda: self.supervised)

    def _another(self, name: str) -> Service:
        return Service(self.data_dir, name, _PROCESSES[CORRELATOR], self.settings_file)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _write_settings(self) -> None:
        """Settings for the children and for `cortexops` in another terminal; readable by the owner only."""
        known = yaml.safe_load(self.settings_file.read_text("utf-8")) if self.settings_file.is_file() else {}
        ports = {name: known.get(name, {}).get("port") or free_port() for name in ("gateway", "console")}
        token_file = self.data_dir / "token"
        self.token = (
            token_file.read_text("utf-8").strip() if token_file.is_file() else secrets.token_urlsafe(24)
        )
        _private(token_file, self.token)
        local = {
            "id": "local",
            "name": "the person at this machine",
            "roles": ["oncall", "sre-lead"],
            "token_sha256": hashlib.sha256(self.token.encode()).hexdigest(),
        }
        content: dict[str, Any] = {
            "data_dir": str(self.data_dir),
            "temporal": {"address": self.engines.temporal_address, "ui_url": self.engines.temporal_ui_url},
            "nats": {"url": self.engines.nats_url},
            "postgres": {"dsn": self.engines.postgres_dsn},
            "gateway": {"port": ports["gateway"], "default_cluster": self._cluster_name},
            "console": {"port": ports["console"]},
            "clusters": [self._cluster_settings()],
            "people": [local, *self._people],
        }
        if self.cluster is not None:
            content["incident"] = dict(QUICK)
            content["correlator"] = {"window_seconds": 1}
            content["autonomy"] = {"start": {"staging": "auto"}}  # the simulated staging has nothing to lose
        for section, values in self._overrides.items():
            content[section] = {**content.get(section, {}), **values} if isinstance(values, dict) else values
        _private(self.settings_file, yaml.safe_dump(content, sort_keys=False))

    def _cluster_settings(self) -> dict[str, Any]:
        if self.cluster is None:
            return {
                "name": self._cluster_name,
                "kubeconfig": str(self._kubeconfig),
                "context": self._context,
                "write_kubeconfig": str(self._kubeconfig),
                "write_context": self._context,
            }
        folder = self.data_dir / "kubeconfigs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for identity in ("admin", "investigator", "remediator"):
            self.cluster.kubeconfig(folder / f"{identity}.kubeconfig", identity)
        return {
            "name": self._cluster_name,
            "kubeconfig": str(folder / "investigator.kubeconfig"),
            "write_kubeconfig": str(folder / "remediator.kubeconfig"),
        }

    async def _watch(self) -> None:
        """Start again what dies, with a pause that grows."""
        pauses: dict[str, float] = {}
        while True:
            await asyncio.sleep(_LOOK)
            for name, service in list(self.services.items()):
                if service.process.running or not self._ours(name, service):
                    continue
                _log.warning(
                    "process ended; starting it again", process=name, code=service.process.returncode
                )
                pause = pauses.get(name, 0.2)
                await asyncio.sleep(pause)
                pauses[name] = min(10.0, pause * 2)
                if not self._ours(name, service):
                    continue
                self.restarts[name] = self.restarts.get(name, 0) + 1
                try:
                    await service.start()
                except (CortexError, OSError) as error:
                    _log.error("process could not be started again", process=name, error=str(error))

    def _ours(self, name: str, service: Service) -> bool:
        """Whether it is to run: scaling takes what it stops out of the table first."""
        return self.supervised and self.services.get(name) is service

    async def status(self) -> list[Part]:
        """How each part is now."""
        parts = [
            Part(name=c.name, address=c.address, problem=c.problem, restarts=c.restarts)
            for c in await self.engines.components()
        ]
        if self.cluster is not None:
            parts.append(Part(name="cluster", address=self.cluster.url, problem=None, restarts=0))
        services = dict(self.services)
        problems = await asyncio.gather(*(service.healthy() for service in services.values()))
        for (name, service), problem in zip(services.items(), problems, strict=True):
            address = " ".join(service.urls.values())
            parts.append(
                Part(name=name, address=address, problem=problem, restarts=self.restarts.get(name, 0))
            )
        return parts


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
