"""Clients of a broker whose queues grow, as far as they are short of pods: those that should take the messages."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import pod_template, read_configuration, read_history, read_logs, read_pods
from cortexops.domain.brokers import CLIENTS, is_broker, is_short
from cortexops.domain.kubernetes import hosts, meta
from cortexops.domain.kubernetes.values import mapping, texts
from cortexops.domain.resource import ResourceRef
from cortexops.domain.seen import speaks_of_delay
from cortexops.domain.topology import Relation

_READ = 4


@collector("consumers", wave=3)
async def collect(gathering: Gathering) -> None:
    if not any(speaks_of_delay(signal) for signal in gathering.signals):
        return
    brokers: dict[ResourceRef, None] = {}
    for root in gathering.roots:
        for service in gathering.selecting(root):
            if is_broker(gathering.find(service) or {}, gathering.find(root) or {}):
                brokers.setdefault(service)
    for namespace in sorted({service.namespace for service in brokers}):
        await _of(gathering, namespace, [each for each in brokers if each.namespace == namespace])


async def _of(gathering: Gathering, namespace: str, brokers: list[ResourceRef]) -> None:
    configs = {
        meta.name(item): texts(item, "data") for item in await gathering.listing("ConfigMap", namespace)
    }
    addresses = {(each.namespace, each.name): each for each in brokers}
    found: list[ResourceRef] = []
    for kind in CLIENTS:
        for item in await gathering.listing(kind, namespace):
            ref = gathering.ref(kind, namespace, meta.name(item))
            if ref in gathering.roots or not is_short(item) or len(found) >= _READ:
                continue
            named = hosts.hosts_of_template(mapping(pod_template(ref, item), "spec"), configs)
            called = {hosts.service_address(host, namespace) for host in named}
            services = [service for address, service in addresses.items() if address in called]
            if not services:
                continue
            gathering.keep(kind, item)
            found.append(ref)
            for service in services:
                gathering.connect(ref, Relation.CALLS, service)
    for ref in found:
        await read_pods(gathering, ref)
        await read_configuration(gathering, ref)
        await read_history(gathering, ref)
        await read_logs(gathering, ref)
