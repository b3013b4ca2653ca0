"""The two API servers that the matrix runs on: each can be killed, and each tells which writes it accepted."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from cortexops.adapters.kubernetes import KubernetesCluster
from sandbox.engines.launch import launch_command
from tests.crash.scenes import Lending, ready_node
from tests.crash.simulated import ROLES
from tests.remediation.support import eventually, grant
from tests.support.controlplane import ControlPlane
from tests.support.engines import ROOT

_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: Request
  verbs: [delete]
- level: Metadata
"""
_PATIENCE = 30.0


class Accepted(NamedTuple):
    """A writing request of the product that the server carried out."""

    method: str
    path: str

    def at(self, place: str) -> bool:
        return place in self.path.split("/")


class Ground(ABC):
    """An API server. `writer` is the kubeconfig of the identity with the roles of `cortexops rbac`."""

    name: str
    admin: KubernetesCluster
    lending: Lending
    writer: str
    _user: str
    _log: Path
    _read = 0
    _rest = b""

    def __init__(self) -> None:
        self._accepted: list[Accepted] = []
        self._clients = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @abstractmethod
    async def start(self) -> None:
        """Serve, with the roles of `cortexops rbac` granted."""

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    def kill9(self) -> None:
        """End the API server at once."""

    @abstractmethod
    async def again(self) -> None:
        """Start it again on the same data, after a kill."""

    async def _connect(self, kubeconfig: str) -> None:
        connected = await KubernetesCluster.connect(self.name, kubeconfig)
        self.admin = await self._clients.enter_async_context(connected)
        self.lending = Lending(self.admin)

    def accepted(self, place: str) -> list[Accepted]:
        """The product's writes so far in a namespace, or on a node."""
        if self._log.exists():
            with self._log.open("rb") as file:
                file.seek(self._read)
                read = file.read()
            self._read += len(read)
            *lines, self._rest = (self._rest + read).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
        return [one for one in self._accepted if one.at(place)]

    def _take(self, line: Mapping[str, object]) -> None:
        parts = urlsplit(str(line["uri"]))
        ours = line["user"] == self._user and "authorization.k8s.io" not in parts.path
        dry = line["dry"] or "dryRun" in parse_qs(parts.query)
        if ours and 200 <= int(str(line["status"])) < 300 and not dry:
            self._accepted.append(Accepted(str(line["method"]), parts.path))


class Simulated(Ground):
    name = "simulated"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._user = "cortexops-remediator"
        self._log = folder / "audit.jsonl"
        self._port = 0
        self.writer = str(folder / "remediator.kubeconfig")
        self._process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        self._folder.mkdir(parents=True)
        ready = await self._launch()
        self._port = urlsplit(ready["url"]).port or 0
        admin = str(self._folder / "admin.kubeconfig")
        for role in ROLES:
            await grant(admin, f"cortexops-{role}", role, ready["authority"])
        await self._connect(admin)
        _, *lent = sorted(node["metadata"]["name"] for node in (await self.admin.list("Node")).items)
        await self.lending.open(lent)

    async def _launch(self) -> dict[str, str]:
        command = [sys.executable, "-m", "tests.crash.simulated", "--folder", str(self._folder)]
        with (self._folder / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(
                launch_command([*command, "--port", str(self._port)], death_signal=signal.SIGKILL),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=ROOT,
            )
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        if not line:
            raise RuntimeError((self._folder / "stderr").read_text()[-2000:])
        found: dict[str, str] = json.loads(line)
        return found

    def kill9(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    async def again(self) -> None:
        await self._launch()

    async def stop(self) -> None:
        await self._clients.aclose()
        if self._process is not None and self._process.poll() is None:
            self.kill9()


class _Audited(ControlPlane):
    """A real control plane whose API server keeps an audit log."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        (directory / "audit.yaml").write_text(_POLICY)
        self._command: tuple[str, ...] = ()

    def _run(self, *command: str) -> None:
        if command[0].endswith("kube-apiserver") and not self._command:
            log = f"--audit-log-path={self.directory / 'audit.log'}"
            command = (*command, log, f"--audit-policy-file={self.directory / 'audit.yaml'}")
            self._command = command
        super()._run(*command)

    def kill9(self) -> None:
        server = next(one for one in self._processes if one.args == self._command)
        server.kill()
        server.wait()
        self._processes.remove(server)

    def again(self) -> None:
        super()._run(*self._command)
        self._wait_until_ready()


class Real(Ground):
    name = "real"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True)
        self._plane = _Audited(folder)
        self._user = "remediator"
        self._log = folder / "audit.log"
        self.writer = self._plane.kubeconfig("remediator")

    async def start(self) -> None:
        await asyncio.to_thread(self._plane.start)
        for role in ROLES:
            await grant(self._plane.kubeconfig("admin"), role, role)
        await self._connect(self._plane.kubeconfig("admin"))
        await ready_node(self.admin, "spare")  # draining a node needs another
        async with await KubernetesCluster.connect(self.name, self.writer) as writer:

            async def granted() -> bool:
                return await writer.may("patch", "Deployment", "default")

            await eventually(granted, _PATIENCE)

    def _take(self, line: Mapping[str, object]) -> None:
        user, status = line["user"], line.get("responseStatus")
        assert isinstance(user, dict)
        methods = {"update": "PUT", "patch": "PATCH", "delete": "DELETE", "create": "POST"}
        super()._take(
            {
                "user": user["username"],
                "method": methods.get(str(line["verb"]), str(line["verb"])),
                "uri": line["requestURI"],
                "status": status["code"] if isinstance(status, dict) else 0,
                "dry": "dryRun" in str(line.get("requestObject")),
            }
        )

    def kill9(self) -> None:
        self._plane.kill9()

    async def again(self) -> None:
        await asyncio.to_thread(self._plane.again)

    async def stop(self) -> None:
        await self._clients.aclose()
        await asyncio.to_thread(self._plane.stop)


class Stopwatch:
    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began
