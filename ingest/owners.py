"""From a pod to its workload, by asking the cluster briefly, else by labels and names."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from cortexops.domain.errors import NotFound, PermanentError, TemporaryError
from cortexops.domain.owners import CLIMBS, controller_of, guess_owner, guess_workload, revision_of
from cortexops.domain.resource import ResourceRef
from cortexops.ports.cluster import ReadableCluster
from cortexops.telemetry import get_logger
from ingest.targets import TargetFinder

TIMEOUT = 2.0  # seconds for all questions about one object
_TTL = 300.0  # owner references do not change; a name may be used again later
_GUESS_TTL = 30.0
_DOWN_FOR = 15.0  # a cluster that did not answer is not asked again for so long
_MOST = 20_000
_AT_ONCE = 16
DEFAULT_ENVIRONMENT = "production"  # of clusters that nobody described: the careful answer

_log = get_logger(__name__)
V = TypeVar("V")


class Complaint(Protocol):
    """Something about one object, with the labels that may tell its owner."""

    @property
    def resource(self) -> ResourceRef: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


class _Cache(Generic[V]):
    """Bounded, oldest out first, each entry with a time to live."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def get(self, key: str) -> V | None:
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > time.monotonic() else None

    def put(self, key: str, value: V, ttl: float) -> None:
        self._entries.pop(key, None)
        self._entries[key] = (time.monotonic() + ttl, value)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)


@lru_cache(_MOST)  # the same pods complain again and again
def _family(resource: ResourceRef) -> str:
    """Pods of one ReplicaSet have one owner: a storm of them is one question."""
    revision = revision_of(resource.name) if resource.kind == "Pod" else ""
    if revision:
        return f"{resource.cluster}:{resource.namespace}:{revision}"
    return resource.key


class OwnerResolver:
    """Resolves workloads and environments. Never raises for a cluster's sake and never waits long."""

    def __init__(
        self,
        clusters: Mapping[str, ReadableCluster],
        *,
        environments: Mapping[str, str] | None = None,
        environment_label: str = "environment",
        timeout: float = TIMEOUT,
    ) -> None:
        """`environments`: of each cluster's namespaces that carry no label; `timeout` in seconds."""
        self.targets = TargetFinder(clusters)
        self._clusters = clusters
        self._environments = dict(environments or {})
        self._label = environment_label
        self._timeout = timeout
        self._owners: _Cache[ResourceRef] = _Cache(_MOST)
        self._namespaces: _Cache[str] = _Cache(_MOST)
        self._down_until: dict[str, float] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def cached(self, resource: ResourceRef) -> ResourceRef | None:
        """The workload if no question is needed."""
        return resource if resource.kind not in CLIMBS else self._owners.get(_family(resource))

    async def workload(self, signal: Complaint) -> ResourceRef:
        """The workload (or node, or the object itself) that the signal is about."""
        resource = signal.resource
        if (known := self.cached(resource)) is not None:
            return known
        found = await self._ask(resource) if self._reachable(resource.cluster) is not None else None
        return self._keep(signal, found)

    def _keep(self, signal: Complaint, found: ResourceRef | None) -> ResourceRef:
        ttl = _TTL
        if found is None:
            found, ttl = guess_workload(signal.resource, signal.labels), _GUESS_TTL
        self._owners.put(_family(signal.resource), found, ttl)
        return found

    async def workloads(self, signals: Sequence[Complaint]) -> list[ResourceRef]:
        """Of many signals, each family of pods asked about once, several at a time."""
        found = [self.cached(signal.resource) for signal in signals]
        unknown = {_family(s.resource): s for s, known in zip(signals, found, strict=True) if known is None}
        asked = []
        for signal in unknown.values():
            if self._reachable(signal.resource.cluster) is None:
                self._keep(signal, None)
            else:
                asked.append(self.workload(signal))
        await asyncio.gather(*asked)
        return [
            known or self.cached(signal.resource) or await self.workload(signal)
            for signal, known in zip(signals, found, strict=True)
        ]

    async def environment(self, resource: ResourceRef) -> str:
        """The namespace's label, else the cluster's environment, else `production`."""
        default = self._environments.get(resource.cluster, DEFAULT_ENVIRONMENT)
        if not resource.namespace:
            return default
        key = f"{resource.cluster}/{resource.namespace}"
        if (known := self._namespaces.get(key)) is not None:
            return known
        labels: dict[str, str] | None = None
        cluster = self._reachable(resource.cluster)
        if cluster is not None:
            try:
                async with asyncio.timeout(self._timeout):
                    namespace = await cluster.get("Namespace", "", resource.namespace)
                labels = (namespace.get("metadata") or {}).get("labels") or {}
            except (TemporaryError, TimeoutError) as error:
                self._is_down(resource.cluster, error)
            except PermanentError:
                pass
        environment = str((labels or {}).get(self._label) or default)
        self._namespaces.put(key, environment, _TTL if labels is not None else _GUESS_TTL)
        return environment

    def _reachable(self, name: str) -> ReadableCluster | None:
        if self._down_until.get(name, 0.0) > time.monotonic():
            return None
        return self._clusters.get(name)

    def _is_down(self, name: str, error: Exception) -> None:
        self._down_until[name] = time.monotonic() + _DOWN_FOR
        _log.warning("cluster does not answer; owners are guessed", cluster=name, error=type(error).__name__)

    async def _ask(self, resource: ResourceRef) -> ResourceRef | None:
        """By owner references; None when the cluster could not tell."""
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                cluster = self._reachable(resource.cluster)
                return None if cluster is None else await self._climb(cluster, resource)
        except (TemporaryError, TimeoutError) as error:
            self._is_down(resource.cluster, error)
        except PermanentError as error:  # not found, or not allowed to look
            _log.debug("owner is guessed", resource=resource.key, error=type(error).__name__)
        return None

    async def _climb(self, cluster: ReadableCluster, resource: ResourceRef) -> ResourceRef:
        current = resource
        for _ in range(3):
            if current.kind not in CLIMBS:
                break
            try:
                owner = controller_of(await cluster.get(current.kind, current.namespace, current.name))
            except NotFound:
                if current == resource:
                    raise
                owner = guess_owner(current.kind, current.name, {})  # the pod is left, its set has gone
            if owner is None:
                break
            current = current.model_copy(update={"kind": owner.kind, "name": owner.name})
        return current
