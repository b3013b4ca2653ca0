"""From settings to clients and activities: the only place that builds them.

Every part is built once, when it is first asked for, and closed in reverse order. Reading and writing
clients are different identities: a process that never asks for the writing ones never has them. Modules
are imported where they are built, so that a process loads what its roles need and nothing else.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
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
    from activities.metric_health import MetricHealth
    from activities.reasoning import ReasoningActivities
    from activities.records import RecordActivities
    from activities.remediation import RemediationActivities
    from activities.sweeping import BookSweeping, RowSweeping
    from cortexops.adapters.git_forge import GitForge
    from cortexops.adapters.kubernetes import KubernetesCluster
    from cortexops.adapters.nats import JetStreamBus
    from cortexops.adapters.postgres import PostgresStore
    from cortexops.adapters.qdrant_late import LateMemory

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
        self._memory: LateMemory | None = None
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
        from cortexops.adapters.policy_reload import ReloadingPolicy

        if self._policy is None:
            token = self.settings.policy.opa_token
            self._policy = build_policy(
                self.settings.policy,
                overrides=self.settings.policy.data,
                opa_token=token.get_secret_value() if token else None,
            )
            self._stack.push_async_callback(self._policy.close)
            if isinstance(self._policy, ReloadingPolicy) and self.settings.policy.reload_seconds:
                self._policy.watch(self.settings.policy.reload_seconds, self._note_revision)
        return self._policy

    async def _note_revision(self, engine: str, revision: str) -> None:
        """Another policy decides from now on: that is an audit event."""
        from activities.deciding import revision_entry

        entry = revision_entry(engine, revision, datetime.now(UTC))
        await (await self.store()).note_revision(engine, revision, entry)

    async def memory(self) -> LateMemory:
        """Connects when it is first asked and again after a failure: incidents go on without meanwhile."""
        from cortexops.adapters.embeddings import embeddings_of
        from cortexops.adapters.qdrant import QdrantMemory
        from cortexops.adapters.qdrant_late import LateMemory

        if self._memory is None:
            settings = self.settings.memory
            key = settings.api_key.get_secret_value() if settings.url and settings.api_key else None

            async def connect() -> QdrantMemory:
                return await QdrantMemory.connect(
                    path=None if settings.url else self.memory_path,
                    url=settings.url,
                    api_key=key,
                    embeddings=embeddings_of(settings),
                    least_model_similarity=settings.embeddings_least,
                )

            self._memory = LateMemory(connect)
            self._stack.push_async_callback(self._memory.close)
            problem = await self._memory.health()
            if problem is not None:
                _log.warning("memory of solved incidents is out of reach", problem=problem)
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
        from cortexops.adapters.guardrails import guardrails

        return RecordActivities(await self.store(), await self.policy(), guardrails(self.settings))

    def forge(self) -> GitForge | None:
        """Where changes are proposed for objects that Git owns; the action that does so learns what it holds."""
        from activities.actions import ACTIONS
        from activities.actions.open_pull_request import OpenPullRequest
        from cortexops.adapters.git_forge import GitForge

        if not self.settings.git.repositories:
            return None
        forge = GitForge(self.settings.git)
        plugin = ACTIONS["open_pull_request"]
        assert isinstance(plugin, OpenPullRequest)
        plugin.covers, plugin.unmapped = forge.covers, forge.unmapped
        return forge

    async def investigation(self) -> InvestigationActivities:
        from activities.actions import propose
        from activities.collectors._backend import backends
        from activities.investigation import InvestigationActivities
        from activities.runbooks.building import build_runbooks

        telemetry = {
            cluster.name: backends(prometheus=cluster.prometheus or None, loki=cluster.loki or None)
            for cluster in self.settings.clusters
        }
        self.forge()
        return InvestigationActivities(
            await self.readers(),
            await self.store(),
            await self.memory(),
            propose,
            telemetry=telemetry,
            runbooks=build_runbooks(self.settings.runbooks),
            feedback=await self.store(),
            half_life_days=self.settings.memory.half_life_days,
        )

    async def reasoning(self) -> ReasoningActivities:
        """Without a model in the settings it says so when it is asked, and incidents go on without."""
        from activities.reasoning import Reasoner, ReasoningActivities
        from cortexops.adapters.model import build_model

        model = build_model(self.settings.model)
        if model is not None:
            self._stack.push_async_callback(model.close)
        reasoner = Reasoner(model, self.settings.model) if model is not None else None
        return ReasoningActivities(reasoner, await self.readers(), await self.store())

    async def remediation(self) -> RemediationActivities:
        from activities.guarded import GuardedRemediation
        from cortexops.adapters.guardrails import guardrails

        rails = guardrails(self.settings)
        remediation = GuardedRemediation(
            await self.writers(), await self.store(), rails.limits, shadow=rails.ladder.shadow
        )
        remediation.metrics = await self._metric_health()
        remediation.forge = self.forge()
        return remediation

    async def _metric_health(self) -> MetricHealth:
        from activities.collectors._backend import HttpBackend
        from activities.metric_health import MetricHealth

        backends = {
            cluster.name: HttpBackend("prometheus", cluster.prometheus)
            for cluster in self.settings.clusters
            if cluster.prometheus
        }
        return MetricHealth(backends, await self.store(), self.settings.verification)

    async def book_sweeping(self) -> BookSweeping:
        """The half of the sweeper that keeps the books."""
        from activities.sweeping import Archiving, BookSweeping
        from cortexops.adapters.temporal_runs import Runs

        store = await self.store()
        grace = timedelta(seconds=self.settings.sweep.grace_seconds)
        audit = self.settings.audit
        archiving = Archiving(audit.archive_path, audit.retention_days) if audit.archive_path else None
        runs = Runs(await self.temporal(), store.run_is_known)
        return BookSweeping(store, runs, grace=grace, archiving=archiving)

    async def row_sweeping(self) -> RowSweeping:
        """The half that looks at clusters, with the writing identity."""
        from activities.sweeping import RowSweeping
        from cortexops.domain.verification import Limits

        incident = self.settings.incident
        limits = Limits(
            window=incident.verification_window_seconds,
            stable_for=incident.verification_stable_seconds,
            interval=incident.verification_interval_seconds,
        )
        remediation = await self.remediation() if self.settings.sweep.compensate else None
        return RowSweeping(
            await self.store(),
            await self.writers(),
            remediation=remediation,
            limits=limits,
            forge=self.forge(),
        )

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
