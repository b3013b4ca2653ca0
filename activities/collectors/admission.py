"""Who refuses pods of the target, or of those that it calls: admission webhooks, limits, the namespace that is
being removed."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors._near import workloads
from activities.gathering import Gathering
from activities.workload_reading import pod_template
from cortexops.domain.injected import adds_to_pods, is_injected, tells_image
from cortexops.domain.kubernetes import pods
from cortexops.domain.kubernetes.refusals import Refuser
from cortexops.domain.kubernetes.values import mapping, objects, text

_CONFIGURATIONS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
_NAMESPACES = 3
_MUTATING = "MutatingWebhookConfiguration"
_WEBHOOK = (Refuser.WEBHOOK_DENIED, Refuser.WEBHOOK_UNREACHABLE)


@collector("admission", wave=4)
async def collect(gathering: Gathering) -> None:
    found = gathering.refusals([*gathering.roots, *workloads(gathering)])
    names = {each.name for each in found if each.by in _WEBHOOK}
    namespaces = {each.name for each in found if each.by is Refuser.NAMESPACE}
    if gathering.target.kind != "Namespace" and any(each.by is Refuser.POD_SECURITY for each in found):
        namespaces.add(gathering.target.namespace)
    await asyncio.gather(*(gathering.get("Namespace", "", name) for name in sorted(namespaces)[:2]))
    await _injectors(gathering)
    if not names:
        return
    lists = await asyncio.gather(*(gathering.listing(kind) for kind in _CONFIGURATIONS))
    for kind, items in zip(_CONFIGURATIONS, lists, strict=True):
        for item in items:
            if names & {text(hook, "name") for hook in objects(item, "webhooks")}:
                gathering.keep(kind, item)


async def _injectors(gathering: Gathering) -> None:
    """Who added the containers in trouble that no template has, and the ConfigMaps that name their images."""
    images = _injected_images(gathering)
    if not images:
        return
    places: dict[str, None] = {}
    for item in await gathering.listing(_MUTATING):
        if adds_to_pods(item):
            gathering.keep(_MUTATING, item)
            for hook in objects(item, "webhooks"):
                places.setdefault(text(hook, "clientConfig", "service", "namespace"))
    for namespace in [place for place in places if place][:_NAMESPACES]:
        for config in await gathering.listing("ConfigMap", namespace):
            if any(tells_image(config, image) for image in images):
                gathering.keep("ConfigMap", config)


def _injected_images(gathering: Gathering) -> list[str]:
    found: dict[str, None] = {}
    for root in gathering.roots:
        template = mapping(pod_template(root, gathering.find(root) or {}), "spec")
        for _, pod in gathering.pods_of(root) if root.kind != "Pod" else ():
            for state in pods.container_states(pod):
                if state.waiting in pods.PULL_REASONS and is_injected(template, pod, state.name):
                    found.setdefault(state.image)
    return list(found)
