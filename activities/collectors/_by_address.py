"""The Services of pods that a log line names by their address, as proxies do that ask pods themselves."""

from __future__ import annotations

from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta, pods, proxied, selectors
from cortexops.domain.kubernetes.values import mapping, text, texts
from cortexops.domain.resource import JSON, ResourceRef


async def services_at(gathering: Gathering, caller: ResourceRef) -> list[ResourceRef]:
    """Services that lead to the pods to which the caller's failed requests went; kept in the scene."""
    own = {ref for ref, _ in gathering.pods_of(caller)}
    lines = [line for log in gathering.logs if log.pod in own for line in log.lines]
    found: dict[ResourceRef, None] = {}
    services = {text(item, "spec", "clusterIP") for _, item in gathering.of_kind("Service")}
    for address, port in proxied.asked_addresses(lines):
        if address in services:
            continue
        behind: dict[ResourceRef, None] = {}
        for pod in await _pods_at(gathering, address):
            if meta.ref_of(caller.cluster, "Pod", pod) in own:
                continue
            for item in await gathering.listing("Service", meta.namespace(pod)):
                chosen = texts(item, "spec", "selector")
                if selectors.equals(chosen, meta.labels(pod)) and proxied.listens_at(item, pod, port):
                    behind.setdefault(gathering.ref("Service", meta.namespace(pod), meta.name(item)))
                    gathering.keep("Service", item)
        found.update(behind)
    return list(found) or await _routed(gathering, lines)


async def _routed(gathering: Gathering, lines: list[str]) -> list[ResourceRef]:
    """The Services of the routes that an ingress controller names; pods that it asked may be gone by now."""
    routes = proxied.asked_routes(lines)
    found: dict[ResourceRef, None] = {}
    for ingress in await gathering.listing("Ingress") if routes else ():
        for route in routes:
            name = proxied.service_of_route(route, ingress)
            if name and await gathering.get("Service", meta.namespace(ingress), name) is not None:
                gathering.keep("Ingress", ingress)
                found.setdefault(gathering.ref("Service", meta.namespace(ingress), name))
    return list(found)


async def _pods_at(gathering: Gathering, address: str) -> list[JSON]:
    """The pod that has the address: one that is known already, else the one that the server finds."""
    known = [pod for _, pod in gathering.of_kind("Pod") if _has(pod, address)]
    if not known:
        listed = await gathering.listing("Pod", fields=f"status.podIP={address}")
        known = [pod for pod in listed if _has(pod, address)]
    return known


def _has(pod: JSON, address: str) -> bool:
    """Whether it is the pod's own: not the node's, and not one that another pod may have had since it ended."""
    shared = mapping(pod, "spec").get("hostNetwork") is True
    return text(pod, "status", "podIP") == address and not shared and not pods.is_finished(pod)
