"""Who else names the queues of a consumer that has nothing to do, or cannot read what it gets: perhaps one that sends
to another by now, or something else."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import pod_template, read_configuration, read_history, read_logs, read_pods
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.records import misread
from cortexops.domain.kubernetes.references import config_uses
from cortexops.domain.kubernetes.values import mapping, texts
from cortexops.domain.queues import alerts_idle, alike, idle, queues_of, told_queues
from cortexops.domain.resource import JSON, ResourceRef

_KINDS = ("Deployment", "StatefulSet")
_READ = 3


@collector("producers", wave=4)
async def collect(gathering: Gathering) -> None:
    for root in gathering.roots[:1]:
        template = mapping(pod_template(root, gathering.find(root) or {}), "spec")
        if not template or not (_is_idle(gathering, root) or _misreads(gathering, root)):
            continue
        configs = {
            meta.name(item): texts(item, "data")
            for item in await gathering.listing("ConfigMap", root.namespace)
        }
        own = {each.queue for each in queues_of(template, _used(template, configs))}
        own |= told_queues(signal.labels for signal in gathering.signals)
        found: list[ResourceRef] = []
        for kind in _KINDS if own else ():
            for item in await gathering.listing(kind, root.namespace):
                ref = gathering.ref(kind, root.namespace, meta.name(item))
                spec = mapping(pod_template(ref, item), "spec")
                named = {each.queue for each in queues_of(spec, _used(spec, configs))}
                if ref == root or not any(queue in own or _like_any(queue, own) for queue in named):
                    continue
                gathering.keep(kind, item)
                found.append(ref)
        found.sort(key=lambda ref: _written(gathering, ref), reverse=True)
        for ref in found[:_READ]:
            await read_pods(gathering, ref)
            await read_configuration(gathering, ref)
            await read_history(gathering, ref)
            await read_logs(gathering, ref, most=1)


def _is_idle(gathering: Gathering, root: ResourceRef) -> bool:
    """Whether an alert or the workload itself says that it does nothing."""
    if any(alerts_idle(signal.name, signal.summary) for signal in gathering.signals):
        return True
    own = {ref for ref, _ in gathering.pods_of(root)}
    return any(idle(log.lines[-5:]) for log in gathering.logs if log.pod in own)


def _misreads(gathering: Gathering, root: ResourceRef) -> bool:
    """Whether the workload says that it does not understand what it is given."""
    own = {ref for ref, _ in gathering.pods_of(root)}
    return any(misread(log.lines) for log in gathering.logs if log.pod in own)


def _written(gathering: Gathering, ref: ResourceRef) -> float:
    """When its template was written last, in seconds."""
    write = meta.writes(gathering.find(ref) or {}, "spec", "template")
    return write.at.timestamp() if write is not None else 0.0


def _used(template: JSON, configs: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    return {use.name: configs.get(use.name, {}) for use in config_uses(template) if use.kind == "ConfigMap"}


def _like_any(queue: str, own: set[str]) -> bool:
    return any(alike(queue, each) for each in own)
