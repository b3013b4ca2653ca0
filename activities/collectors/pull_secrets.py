"""The Secrets that images are pulled with, where pulling fails."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import pods
from cortexops.domain.kubernetes.references import pull_secrets
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import ResourceRef
from cortexops.domain.topology import Relation

_MOST = 2


@collector("pull_secrets", wave=2)
async def collect(gathering: Gathering) -> None:
    await asyncio.gather(*(_of(gathering, root) for root in gathering.roots if root.namespace))


async def _of(gathering: Gathering, root: ResourceRef) -> None:
    failing = [
        pod
        for _, pod in gathering.pods_of(root)
        if any(state.waiting in pods.PULL_REASONS for state in pods.container_states(pod))
    ]
    if not failing:
        return
    spec = mapping(failing[0], "spec")
    names = pull_secrets(spec)
    account = text(spec, "serviceAccountName")
    if not names and account:
        found = await gathering.get("ServiceAccount", root.namespace, account) or {}
        names = [text(ref, "name") for ref in objects(found, "imagePullSecrets") if text(ref, "name")]
    for name in names:
        gathering.connect(root, Relation.PULLS_WITH, gathering.ref("Secret", root.namespace, name))
    await asyncio.gather(
        *(gathering.get("Secret", root.namespace, name, required=True) for name in names[:_MOST])
    )
