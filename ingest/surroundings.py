"""What a cluster says about objects in trouble, asked briefly: a few lists a round, kept for half a minute."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cortexops.domain.causes import Surroundings, Trouble
from cortexops.domain.correlation import key_of
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.hosts import hosts_of_template, service_address
from cortexops.domain.kubernetes.references import config_uses
from cortexops.domain.kubernetes.selectors import equals
from cortexops.domain.kubernetes.values import mapping, moment, objects, text, texts
from cortexops.domain.owners import guess_workload
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.signal import SignalType
from cortexops.ports.cluster import ReadableCluster
from cortexops.telemetry import get_logger

TIMEOUT = 2.0  # seconds for everything that is asked in one round
_TTL = 30.0
_DOWN_FOR = 15.0
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_MOST_NAMESPACES = 8  # beyond, one list of the whole cluster is cheaper
_MOST_CONFIGS = 20
_MOST_OBJECTS = 5_000
_EVERYBODYS = frozenset({"kube-root-ca.crt", "openshift-service-ca.crt"})
_RELEASE_LABELS = ("helm.sh/chart", "argocd.argoproj.io/instance", "app.kubernetes.io/part-of")

_log = get_logger(__name__)


@dataclass
class _Facts:
    """The makings of `Surroundings`."""

    node_of: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    uses: dict[str, frozenset[str]] = field(default_factory=dict)
    changed: dict[str, float] = field(default_factory=dict)
    calls: dict[str, frozenset[str]] = field(default_factory=dict)
    released: dict[str, tuple[str, float]] = field(default_factory=dict)


class SurroundingsReader:
    """Never raises for a cluster's sake and never waits long: what is not known links nothing."""

    def __init__(self, clusters: Mapping[str, ReadableCluster], *, timeout: float = TIMEOUT) -> None:
        self._clusters = clusters
        self._timeout = timeout
        self._kept: dict[tuple[str, str, str, str], tuple[float, list[JSON]]] = {}
        self._down_until: dict[str, float] = {}

    async def around(self, cluster_name: str, troubles: Sequence[Trouble]) -> Surroundings:
        """What is known around these troubles of one cluster."""
        facts = _Facts()
        cluster = self._clusters.get(cluster_name)
        if cluster is None or len(troubles) < 2 or self._down_until.get(cluster_name, 0.0) > time.monotonic():
            return Surroundings()
        try:
            async with asyncio.timeout(self._timeout):
                await self._nodes(cluster, troubles, facts)
                await self._workloads(cluster, troubles, facts)
        except (TemporaryError, TimeoutError) as error:
            self._down_until[cluster_name] = time.monotonic() + _DOWN_FOR
            _log.warning("troubles are not linked: the cluster does not answer", cluster=cluster_name,
                         error=type(error).__name__)  # fmt: skip
        return Surroundings(
            facts.node_of,
            {key: frozenset(nodes) for key, nodes in facts.nodes.items()},
            facts.uses,
            facts.changed,
            facts.calls,
            facts.released,
        )

    async def _nodes(self, cluster: ReadableCluster, troubles: Sequence[Trouble], facts: _Facts) -> None:
        """Pods of the nodes that are not ready."""
        failed = {
            trouble.resource.name
            for trouble in troubles
            if trouble.resource.kind == "Node"
            and any(sign.type is SignalType.NODE_NOT_READY for sign in trouble.signs)
        }
        for node in sorted(failed):
            for pod in await self._list(cluster, "Pod", fields=f"spec.nodeName={node}"):
                reference = meta.ref_of(cluster.name, "Pod", pod)
                facts.node_of[f"{reference.namespace}/{reference.name}"] = node
                facts.nodes[key_of(guess_workload(reference, meta.labels(pod)))].add(node)

    async def _workloads(self, cluster: ReadableCluster, troubles: Sequence[Trouble], facts: _Facts) -> None:
        """What the troubled workloads read, call and belong to."""
        troubled = {trouble.key for trouble in troubles if trouble.resource.kind in _WORKLOADS}
        namespaces = {trouble.resource.namespace for trouble in troubles if trouble.key in troubled}
        if len(troubled) < 2:
            return
        places = sorted(namespaces) if len(namespaces) <= _MOST_NAMESPACES else [""]
        found: dict[str, tuple[ResourceRef, JSON]] = {}
        services: list[JSON] = []
        for place in places:
            for kind in _WORKLOADS:
                for item in await self._list(cluster, kind, namespace=place):
                    reference = meta.ref_of(cluster.name, kind, item)
                    found[key_of(reference)] = reference, item
            services += await self._list(cluster, "Service", namespace=place)
        behind = _behind(services, list(found.values()))
        for key in troubled & found.keys():
            reference, item = found[key]
            spec = mapping(item, "spec", "template", "spec")
            facts.uses[key] = frozenset(
                f"{use.kind}/{reference.namespace}/{use.name}"
                for use in config_uses(spec)
                if use.name not in _EVERYBODYS
            )
            called: set[str] = set()
            for host in hosts_of_template(spec, {}):
                address = service_address(host, reference.namespace)
                called |= behind.get(address, set()) if address else set()
            facts.calls[key] = frozenset(called - {key})
            if (release := _release(item)) is not None:
                facts.released[key] = release
        await self._changes(cluster, facts)

    async def _changes(self, cluster: ReadableCluster, facts: _Facts) -> None:
        """When those configurations were written that several troubled workloads read."""
        readers: dict[str, int] = defaultdict(int)
        for uses in facts.uses.values():
            for config in uses:
                readers[config] += 1
        shared = sorted(config for config, number in readers.items() if number > 1)
        for config in shared[:_MOST_CONFIGS]:
            kind, namespace, name = config.split("/", 2)
            try:
                written = meta.last_write(await cluster.get(kind, namespace, name))
            except PermanentError:  # gone, or not ours to read
                continue
            if written is not None:
                facts.changed[config] = written.at.timestamp()

    async def _list(
        self, cluster: ReadableCluster, kind: str, *, namespace: str = "", fields: str = ""
    ) -> list[JSON]:
        place = (cluster.name, kind, namespace, fields)
        kept = self._kept.get(place)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        try:
            listed = (await cluster.list(kind, namespace, fields=fields, most=_MOST_OBJECTS)).items
        except PermanentError as error:
            _log.debug("not linked by", kind=kind, error=type(error).__name__)
            listed = []
        now = time.monotonic()
        self._kept = {key: entry for key, entry in self._kept.items() if entry[0] > now}
        self._kept[place] = (now + _TTL, listed)
        return listed


def _behind(
    services: Sequence[JSON], workloads: Collection[tuple[ResourceRef, JSON]]
) -> dict[tuple[str, str], set[str]]:
    """(namespace, name) of each Service → keys of the workloads whose pods it selects."""
    found: dict[tuple[str, str], set[str]] = {}
    for service in services:
        selector = texts(service, "spec", "selector")
        place = meta.namespace(service), meta.name(service)
        if selector:
            found[place] = {
                key_of(reference)
                for reference, item in workloads
                if reference.namespace == place[0]
                and equals(selector, texts(item, "spec", "template", "metadata", "labels"))
            }
    return found


def _release(item: JSON) -> tuple[str, float] | None:
    """The release that the workload is a part of, and when it was last rolled out."""
    labels = {**meta.annotations_of(item), **meta.labels(item)}
    instance = labels.get("app.kubernetes.io/instance", "")
    bundle = next((f"{name}={labels[name]}" for name in _RELEASE_LABELS if labels.get(name)), "")
    if not instance or not bundle:
        return None
    for condition in objects(item, "status", "conditions"):
        if (
            text(condition, "type") == "Progressing"
            and (at := moment(condition, "lastUpdateTime")) is not None
        ):
            return f"{meta.namespace(item)}/{instance}/{bundle}", at.timestamp()
    return None
