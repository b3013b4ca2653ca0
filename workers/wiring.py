"""From settings to clients and activities: the only place that builds them.

Every part is built once, when it is first asked for, and closed in reverse order. Reading and writing
clients are different identities: a process that never asks for the writing ones never has them. Modules
are imported where they are built, so that a process loads what its roles need and nothing else.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from temporalio.client import Client

from cortexops.adapters import temporal
from cortexops.domain.errors import TemporaryError
from cortexops.ports.policy import PolicyEngine
from cortexops.settings import Settings
from cortexops.telemetry import get_logger

if TYPE_CHECKING:
    from activities.investigation import InvestigationActivities
    from activities.records import RecordActivities
    from activities.remediation import RemediationActivities
    from cortexops.adapters.kubernetes import KubernetesCluster
    from cortexops.adapters.nats import JetStreamBus
    from cortexops.adapters.postgres import PostgresStore
    from cortexops.adapters.qdrant import QdrantMemory

_log = get_logger(__name__)


class Wiring:
    """The clients of one process."""

    def __init__(self, settings: Settings, role: str) -> None:
        self.settings = settings
        self._role = role
        self._stack = AsyncExitStack()
        self._temporal: Client | None = None
        self._store: PostgresStore | None = None
        self._bus: JetStreamBus | None = None
        self._policy: PolicyEngine | None = None
        self._memory: QdrantMemory | None = None
        self._readers: dict[str, KubernetesCluster] | None = None
        self._writers: dict[str, KubernetesCluster] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def temporal(self) -> Client:
        """Waits for the frontend: a worker that starts before its server is no reason to die."""
        while self._temporal is None:
            try:
                self._temporal = await temporal.connect(
                    self.settings.temporal, identity=f"cortexops-{self._role}"
                )
            except TemporaryError as error:
                _log.warning("waiting for Temporal", problem=str(error))
                await asyncio.sleep(error.delay.total_seconds())
        return self._temporal

    async def store(self) -> PostgresStore:
        from cortexops.adapters.postgres import PostgresStore

        while self._store is None:
            try:
                self._store = await PostgresStore.connect(
                    self.settings.postgres.dsn.get_secret_value(),
                    notifiers=self.notifiers,
                    pool_size=self.settings.postgres.pool_size,
                )
                self._stack.push_async_callback(self._store.close)
            except TemporaryError as error:
                _log.warning("waiting for Postgres", problem=str(error))
                await asyncio.sleep(error.delay.total_seconds())
        return self._store

    async def bus(self) -> JetStreamBus:
        from cortexops.adapters.nats import JetStreamBus

        while self._bus is None:
            try:
                self._bus = await JetStreamBus.connect(self.settings.nats)
                self._stack.push_async_callback(self._bus.close)
            except TemporaryError as error:
                _log.warning("waiting for NATS", problem=str(error))
                await asyncio.sleep(error.delay.total_seconds())
        return self._bus

    async def policy(self) -> PolicyEngine:
        """Refuses to start on a bundle that does not parse, naming file and line."""
        from cortexops.adapters.policy import build_policy

        if self._policy is None:
            token = self.settings.policy.opa_token
            self._policy = build_policy(
                self.settings.policy,
                overrides=self.settings.policy.data,
                opa_token=token.get_secret_value() if token else None,
            )
            self._stack.push_async_callback(self._policy.close)
        return self._policy

    async def memory(self) -> QdrantMemory | None:
        """None when it cannot be reached: incidents go on without memory."""
        from cortexops.adapters.qdrant import QdrantMemory

        if self._memory is None:
            settings = self.settings.memory
            try:
                if settings.url:
                    key = settings.api_key.get_secret_value() if settings.api_key else None
                    self._memory = await QdrantMemory.connect(url=settings.url, api_key=key)
                else:
                    self._memory = await QdrantMemory.connect(path=self.memory_path)
            except TemporaryError as error:
                _log.warning("memory of solved incidents is out of reach", problem=str(error))
                return None
            self._stack.push_async_callback(self._memory.close)
        return self._memory

    async def readers(self) -> dict[str, KubernetesCluster]:
        """One client a cluster, with the reading identity."""
        if self._readers is None:
            self._readers = {
                cluster.name: await self._cluster(cluster.name, cluster.kubeconfig, cluster.context)
                for cluster in self.settings.clusters
            }
        return self._readers

    async def writers(self) -> dict[str, KubernetesCluster]:
        """One client a cluster that has a writing identity configured."""
        if self._writers is None:
            self._writers = {
                cluster.name: await self._cluster(
                    cluster.name, cluster.write_kubeconfig, cluster.write_context
                )
                for cluster in self.settings.clusters
                if cluster.write_kubeconfig is not None or cluster.write_context is not None
            }
        return self._writers

    async def _cluster(self, name: str, kubeconfig: Path | None, context: str | None) -> KubernetesCluster:
        from cortexops.adapters.kubernetes import KubernetesCluster

        client = await KubernetesCluster.connect(
            name, kubeconfig=str(kubeconfig) if kubeconfig else None, context=context
        )
        self._stack.push_async_callback(client.close)
        return client

    async def records(self) -> RecordActivities:
        from activities.records import RecordActivities

        return RecordActivities(await self.store(), await self.policy())

    async def investigation(self) -> InvestigationActivities:
        from activities.actions import propose
        from activities.collectors._backend import backends
        from activities.investigation import InvestigationActivities

        telemetry = {
            cluster.name: backends(prometheus=cluster.prometheus or None, loki=cluster.loki or None)
            for cluster in self.settings.clusters
        }
        return InvestigationActivities(
            await self.readers(), await self.store(), await self.memory(), propose, telemetry=telemetry
        )

    async def remediation(self) -> RemediationActivities:
        from activities.remediation import RemediationActivities

        return RemediationActivities(await self.writers(), await self.store())

    @cached_property
    def notifiers(self) -> tuple[str, ...]:
        """Names of the channels that are configured."""
        from activities.notifiers import build_notifiers

        return tuple(build_notifiers(self.settings))

    @property
    def memory_path(self) -> Path:
        return self.settings.memory.path or self.settings.data_dir / "memory"

    async def components(self) -> dict[str, str | None]:
        """Health of everything that this process has built so far."""
        found: dict[str, str | None] = {}
        if self._temporal is not None:
            found["temporal"] = await self._temporal_health(self._temporal)
        for name, part in (
            ("postgres", self._store),
            ("nats", self._bus),
            ("policy", self._policy),
            ("memory", self._memory),
        ):
            if part is not None:
                found[name] = await part.health()
        for name, cluster in (self._readers or {}).items():
            found[f"cluster:{name}"] = await _cluster_health(cluster)
        return found

    @staticmethod
    async def _temporal_health(client: Client) -> str | None:
        try:
            async with asyncio.timeout(3):
                well = await client.service_client.check_health()
        except (TimeoutError, RuntimeError, OSError) as error:
            return f"does not answer: {type(error).__name__}"
        return None if well else "not serving"


async def _cluster_health(cluster: KubernetesCluster) -> str | None:
    try:
        await cluster.version()
    except TemporaryError as error:
        return str(error)
    return None
