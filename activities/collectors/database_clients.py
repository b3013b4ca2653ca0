"""Who else uses a database that has no connections left: the workloads, of any namespace, whose configuration names
it."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import pod_template, read_pods
from cortexops.domain.databases import KINDS, database_hosts, rescaled
from cortexops.domain.kubernetes import complaints, hosts, meta
from cortexops.domain.kubernetes.references import config_uses
from cortexops.domain.kubernetes.values import mapping, texts
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.stores import seems_store
from cortexops.domain.topology import Relation

_LISTED = tuple(kind for kind in KINDS if kind in ("Deployment", "StatefulSet", "CronJob"))
_KEPT = 12
_REVISIONS = 2
_NAMESPACES = 4


@collector("database_clients", wave=4)
async def collect(gathering: Gathering) -> None:
    asked = _full(gathering)
    if not asked:
        return
    named = {service.namespace for service in asked}
    namespaces = {*named, *(root.namespace for root in gathering.roots if root.namespace)}
    configs = {
        (namespace, meta.name(item)): texts(item, "data")
        for namespace in sorted(namespaces)
        for item in await gathering.listing("ConfigMap", namespace)
    }
    kept: list[ResourceRef] = []
    for kind in _LISTED:
        for item in sorted(
            await _everywhere(gathering, kind, named), key=lambda each: meta.namespace(each) not in namespaces
        ):
            ref = gathering.ref(kind, meta.namespace(item), meta.name(item))
            used = _used(gathering, ref, item, set(asked), configs)
            if not used or len(kept) >= _KEPT:
                continue
            kept.append(ref)
            if gathering.find(ref) is None:
                gathering.keep(kind, item)
            for service in used:
                gathering.connect(ref, Relation.CALLS, service)
            if ref.namespace in namespaces:
                await _configuration(gathering, ref, item)
    for namespace in list(dict.fromkeys(ref.namespace for ref in kept))[:_NAMESPACES]:
        await _revisions(gathering, namespace, [ref for ref in kept if ref.namespace == namespace])
    for ref in kept:
        if rescaled(gathering.find(ref) or {}) is not None:
            await read_pods(gathering, ref)


async def _everywhere(gathering: Gathering, kind: str, namespaces: set[str]) -> list[JSON]:
    """The workloads of all namespaces; of the databases' own where not all may be read."""
    found = await gathering.listing(kind)
    if found or not gathering.forbidden_list(kind):
        return found
    return [item for namespace in sorted(namespaces) for item in await gathering.listing(kind, namespace)]


def _full(gathering: Gathering) -> list[ResourceRef]:
    """The Services of databases of which a log says that they have no connections left."""
    found: dict[ResourceRef, None] = {}
    for log in gathering.logs:
        said = [line for line in complaints.saturated(log.lines) if complaints.at_server(line)]
        if not said:
            continue
        for ref, service in gathering.of_kind("Service"):
            behind = gathering.connected(ref, Relation.SELECTS)
            own = any(log.pod == pod for workload in behind for pod, _ in gathering.pods_of(workload))
            named = any(complaints.names(line, ref.name) for line in said)
            if (own or named) and seems_store(service, [gathering.find(each) or {} for each in behind]):
                found.setdefault(ref)
    return list(found)


def _used(
    gathering: Gathering,
    ref: ResourceRef,
    item: JSON,
    services: set[ResourceRef],
    configs: dict[tuple[str, str], dict[str, str]],
) -> list[ResourceRef]:
    spec = mapping(pod_template(ref, item), "spec")
    own = {
        use.name: configs.get((ref.namespace, use.name), {})
        for use in config_uses(spec)
        if use.kind == "ConfigMap"
    }
    addresses = {hosts.service_address(host, ref.namespace) for host in database_hosts(spec, own)}
    return [service for service in services if (service.namespace, service.name) in addresses]


async def _configuration(gathering: Gathering, ref: ResourceRef, item: JSON) -> None:
    """Keep the ConfigMaps that it reads, out of the list that was read."""
    names = {
        use.name for use in config_uses(mapping(pod_template(ref, item), "spec")) if use.kind == "ConfigMap"
    }
    for config in await gathering.listing("ConfigMap", ref.namespace):
        if meta.name(config) in names:
            gathering.keep("ConfigMap", config)
            gathering.connect(
                ref, Relation.USES_CONFIG, gathering.ref("ConfigMap", ref.namespace, meta.name(config))
            )


async def _revisions(gathering: Gathering, namespace: str, kept: list[ResourceRef]) -> None:
    """The latest ReplicaSets of them, out of one list."""
    missing = {ref.name: ref for ref in kept if ref.kind == "Deployment" and not _has_sets(gathering, ref)}
    if not missing:
        return
    items = sorted(await gathering.listing("ReplicaSet", namespace), key=meta.revision, reverse=True)
    for name, ref in missing.items():
        own = [item for item in items if meta.owner(item) == ("Deployment", name)]
        for item in own[:_REVISIONS]:
            kept_set = gathering.keep("ReplicaSet", item)
            gathering.connect(ref, Relation.OWNS, gathering.ref("ReplicaSet", namespace, meta.name(kept_set)))


def _has_sets(gathering: Gathering, ref: ResourceRef) -> bool:
    sets = [each for each in gathering.connected(ref, Relation.OWNS) if each.kind == "ReplicaSet"]
    return sum(gathering.find(each) is not None for each in sets) >= _REVISIONS
