"""Who refuses the target's pods: admission webhooks, the namespace that is being removed, limits."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes.refusals import Refuser
from cortexops.domain.kubernetes.values import objects, text

_CONFIGURATIONS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
_WEBHOOK = (Refuser.WEBHOOK_DENIED, Refuser.WEBHOOK_UNREACHABLE)


@collector("admission", wave=3)
async def collect(gathering: Gathering) -> None:
    found = gathering.refusals()
    names = {each.name for each in found if each.by in _WEBHOOK}
    namespaces = {each.name for each in found if each.by is Refuser.NAMESPACE}
    if gathering.target.kind != "Namespace" and any(each.by is Refuser.POD_SECURITY for each in found):
        namespaces.add(gathering.target.namespace)
    await asyncio.gather(*(gathering.get("Namespace", "", name) for name in sorted(namespaces)[:2]))
    if not names:
        return
    lists = await asyncio.gather(*(gathering.listing(kind) for kind in _CONFIGURATIONS))
    for kind, items in zip(_CONFIGURATIONS, lists, strict=True):
        for item in items:
            if names & {text(hook, "name") for hook in objects(item, "webhooks")}:
                gathering.keep(kind, item)
