"""Start and stop the simulated API server."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec
import yaml
from aiohttp import web

from cortexops.domain.errors import InvalidInput
from sandbox.cluster.api import Api
from sandbox.cluster.authz import Authorizer, Identity, default_identities
from sandbox.cluster.certificate import make_tls
from sandbox.cluster.collector import Collector
from sandbox.cluster.faults import Faults
from sandbox.cluster.kinds import NAMESPACE
from sandbox.cluster.logs import AnyLogs, KubeletLogs, LogSource, MemoryLogs
from sandbox.cluster.store import Store
from sandbox.cluster.verbs import Options, Verbs, utc_now

_HOST = "127.0.0.1"
_SNAPSHOT = "cluster.json"
_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_MOST_BODY = 8 * 1024 * 1024


class SimulatedApiServer:
    """A Kubernetes API server on loopback.

    `port` 0 takes a free one. `identities` replaces admin, investigator, remediator and nobody.
    `data_dir` keeps the objects from one run to the next. `log_source` replaces the default, which is
    `logs` (in memory) for containers that have a log there and the node's kubelet for all others.
    `history` is how many changes a watch can resume over before it gets 410.

    store, verbs   the objects, and the mutations without HTTP or authorization
    logs           `append(namespace, pod_uid, container, text)`, `rotate(namespace, pod_uid, container)`
    faults         `add(Fault(path=regex, latency=…, status=…, hang_after_apply=True, times=1))`, `clear()`
    """

    def __init__(
        self,
        port: int = 0,
        *,
        identities: Sequence[Identity] | None = None,
        data_dir: str | Path | None = None,
        log_source: LogSource | None = None,
        now: Callable[[], datetime] = utc_now,
        history: int = 50_000,
    ) -> None:
        self._port = port
        self._snapshot = Path(data_dir) / _SNAPSHOT if data_dir is not None else None
        self._runner: web.AppRunner | None = None
        self.store = Store(history)
        self.verbs = Verbs(self.store, now)
        self.logs = MemoryLogs()
        self.faults = Faults()
        self.authorizer = Authorizer(
            self.store, default_identities() if identities is None else tuple(identities)
        )
        self._kubelet_logs = KubeletLogs(self.store)
        self._collector = Collector(self.store, self.verbs)
        source = log_source or AnyLogs(self.logs, self._kubelet_logs)
        self._tls = make_tls(_HOST)
        self._api = Api(self.verbs, self.authorizer, self.faults, source)

    @property
    def url(self) -> str:
        """`https://127.0.0.1:<port>`, once started."""
        return f"https://{_HOST}:{self._port}"

    @property
    def authority(self) -> str:
        """PEM of the certificate authority by which clients trust this server."""
        return self._tls.authority

    @property
    def requests(self) -> int:
        """How many requests have come in."""
        return self._api.requests

    async def start(self) -> None:
        """Listen. Raises `OSError` when the port is taken."""
        if self._snapshot is not None and self._snapshot.exists():
            try:
                self.store.load(msgspec.json.decode(self._snapshot.read_bytes()))
            except (msgspec.DecodeError, KeyError, ValueError) as error:
                raise InvalidInput("data_dir", f"{self._snapshot} is no snapshot of a cluster") from error
            self._collector.rebuild()
        for name in _NAMESPACES:
            if self.store.get(NAMESPACE.key, "", name) is None:
                self.verbs.create(NAMESPACE, "", {"metadata": {"name": name}}, Options("kube-apiserver"))
        self._collector.settle()
        app = web.Application(client_max_size=_MOST_BODY)
        app.router.add_route("*", "/{path:.*}", self._api.handle)
        logger = logging.getLogger(__name__)
        self._runner = web.AppRunner(app, access_log=None, logger=logger, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, self._port, ssl_context=self._tls.context).start()
        self._port = int(self._runner.addresses[0][1])
        self._api.address = f"{_HOST}:{self._port}"

    async def stop(self) -> None:
        """End watches and hanging requests, stop listening, keep the objects if asked to."""
        self.faults.released.set()
        self.store.close_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._collector.close()
        await self._kubelet_logs.close()
        if self._snapshot is not None:
            self._snapshot.parent.mkdir(parents=True, exist_ok=True)
            part = self._snapshot.with_suffix(".part")
            part.write_bytes(msgspec.json.encode(self.store.dump()))
            part.replace(self._snapshot)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def kubeconfig(
        self,
        path: str | Path,
        identity: str = "admin",
        *,
        cluster: str = "sandbox",
        namespace: str = "default",
    ) -> str:
        """Write a kubeconfig for an identity and return its path. Raises `KeyError` for an unknown one."""
        who = self.authorizer.identity(identity)
        authority = base64.b64encode(self.authority.encode()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": cluster,
            "clusters": [
                {"name": cluster, "cluster": {"server": self.url, "certificate-authority-data": authority}}
            ],
            "users": [{"name": identity, "user": {"token": who.token}}],
            "contexts": [
                {"name": cluster, "context": {"cluster": cluster, "user": identity, "namespace": namespace}}
            ],
        }
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=0o600)
        target.chmod(0o600)  # it holds a token
        target.write_text(yaml.safe_dump(document), encoding="utf-8")
        return str(target)
