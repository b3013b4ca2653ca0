"""What tests of watching share: a wire that can be cut, a bus that remembers, servers that forget and restart."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.signal import FateReason, Signal, SignalStatus
from sandbox.cluster.server import SimulatedApiServer
from tests.conformance.kubernetes_api.conftest import eventually
from tests.support.controlplane import ControlPlane

JSON = dict[str, Any]


class Wire:
    """Passes bytes to one server, until told otherwise."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._server: asyncio.Server | None = None
        self.port = 0
        self.connections = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._flows.set()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Tear every connection, in the middle of whatever passes."""
        for writer in list(self._open):
            writer.transport.abort()

    def shut(self) -> None:
        """Cut, and let nobody in until `reopen`."""
        self._refuses = True
        self.cut()

    def reopen(self) -> None:
        self._refuses = False

    def freeze(self) -> None:
        """Keep the connections and pass nothing, as when the other side has gone without a word."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        self.connections += 1
        far: asyncio.StreamWriter | None = None
        try:
            if not self._refuses:
                there, far = await asyncio.open_connection("127.0.0.1", self._target)
                self._open.add(far)
                ways = {
                    asyncio.ensure_future(self._pass(reader, far)),
                    asyncio.ensure_future(self._pass(there, writer)),
                }
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):  # asyncio would log a handler that was cancelled
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, far):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def wired(
    kubeconfig: str, directory: Path, *, name: str = "test", request_timeout: float = 10.0
) -> AsyncIterator[tuple[Wire, KubernetesCluster]]:
    """A client of the server that a kubeconfig names, over a wire of its own."""
    document = yaml.safe_load(Path(kubeconfig).read_text())
    access = document["clusters"][0]["cluster"]
    wire = Wire(int(urlsplit(access["server"]).port or 443))
    await wire.start()
    access["server"] = f"https://127.0.0.1:{wire.port}"
    path = directory / f"wire-{wire.port}.yaml"
    path.write_text(yaml.safe_dump(document))
    try:
        async with await KubernetesCluster.connect(
            name, str(path), request_timeout=request_timeout
        ) as cluster:
            yield wire, cluster
    finally:
        await wire.stop()
        await asyncio.sleep(0.05)  # the client's side of a torn connection ends in a later turn of the loop


class Sink:
    """A bus that remembers what concerns one namespace (or the cluster's own objects)."""

    def __init__(self, space: str) -> None:
        self.space = space
        self.signals: list[Signal] = []
        self.messages = 0

    async def publish(self, signals: Sequence[Signal]) -> list[bool]:
        self.messages += 1
        self.signals += [one for one in signals if one.resource.namespace in (self.space, "")]
        return [False] * len(signals)

    async def park(self, raw: bytes, reason: FateReason, source: str, detail: str = "") -> None: ...

    async def health(self) -> str | None:
        return None

    async def close(self) -> None: ...

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.signals]

    def named(self, name: str, status: SignalStatus = SignalStatus.FIRING) -> list[Signal]:
        return [one for one in self.signals if (one.name, one.status) == (name, status)]

    def objects(self) -> list[str]:
        return sorted(one.resource.name for one in self.signals)

    async def until(self, name: str, status: SignalStatus = SignalStatus.FIRING) -> Signal:
        """The first signal of that name and status, once it is there."""

        async def there() -> list[Signal]:
            return self.named(name, status)

        found: list[Signal] = await eventually(there)
        return found[0]


class Outage:
    """Makes one of the two servers forget its history, and restart."""

    def __init__(self, server: SimulatedApiServer | None, plane: ControlPlane | None) -> None:
        self._server, self._plane = server, plane

    async def compact(self, cluster: KubernetesCluster) -> None:
        """Forget every version before the present one."""
        if self._server is not None:
            self._server.store.compact()
            return
        assert self._plane is not None
        address = next(
            str(word).partition("=")[2]
            for word in self._plane._processes[0].args  # type: ignore[union-attr]
            if str(word).startswith("--listen-client-urls=")
        )
        version = (await cluster.list("Event", "kube-system")).resource_version
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{address}/v3/kv/compaction", json={"revision": version})
        assert answer.status_code == 200, answer.text

    async def restart(self) -> None:
        """Stop the API server and start it again on the same data; returns when it answers."""
        if self._server is not None:
            await self._server.stop()
            await self._server.start()
            return
        plane = self._plane
        assert plane is not None
        old = plane._processes[1]
        assert "kube-apiserver" in str(old.args[0])  # type: ignore[index]
        old.kill()  # asked politely it would wait for its watches to end
        await asyncio.to_thread(old.wait, 30)
        log = plane._logs[1]
        plane._processes[1] = subprocess.Popen(old.args, stdout=log, stderr=log, cwd=plane.directory)
        await asyncio.to_thread(plane._wait_until_ready)


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


async def complain(cluster: KubernetesCluster, space: str, name: str, kind: str = "Warning") -> None:
    """An event that is worth a signal, about a pod of that name."""
    now = stamp(datetime.now(UTC))
    body = {
        "metadata": {"name": f"{name}.1", "namespace": space},
        "involvedObject": {"kind": "Pod", "namespace": space, "name": name},
        "reason": "FailedMount",
        "type": kind,
        "message": "no such volume",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    await cluster.create("Event", space, body)


def crashing(ended: datetime, restarts: int = 3) -> JSON:
    """The status of a pod in a crash loop whose container last lived for two seconds."""
    last = {
        "exitCode": 1,
        "reason": "Error",
        "startedAt": stamp(ended - timedelta(seconds=2)),
        "finishedAt": stamp(ended),
    }
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off"}
    return _status(
        {"waiting": waiting}, last, ready=False, since=ended - timedelta(seconds=2), restarts=restarts
    )


def well(since: datetime, ended: datetime, restarts: int = 3) -> JSON:
    """The same pod, running again."""
    last = {
        "exitCode": 1,
        "reason": "Error",
        "startedAt": stamp(ended - timedelta(seconds=2)),
        "finishedAt": stamp(ended),
    }
    return _status({"running": {"startedAt": stamp(since)}}, last, ready=True, since=since, restarts=restarts)


def _status(state: JSON, last: JSON, *, ready: bool, since: datetime, restarts: int) -> JSON:
    container = {
        "name": "main",
        "image": "registry.local/api:1.0",
        "imageID": "",
        "ready": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": {"terminated": last},
    }
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": stamp(since)}
    return {"phase": "Running", "conditions": [condition], "containerStatuses": [container]}
