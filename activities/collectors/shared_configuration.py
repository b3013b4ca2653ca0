"""Who else fails with a ConfigMap of the target, where nothing records whether it was changed."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta, pods
from cortexops.domain.kubernetes.references import config_uses
from cortexops.domain.kubernetes.values import mapping
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.topology import Relation

_KEPT = 4


@collector("shared_configuration", wave=2)
async def collect(gathering: Gathering) -> None:
    for root in gathering.roots[:1]:
        own = dict(gathering.pods_of(root))
        used = [
            ref
            for ref in gathering.connected(root, Relation.USES_CONFIG)
            if (live := gathering.find(ref)) is not None and not meta.has_history(live)
        ]
        if not used or not any(_crashes(pod) for pod in own.values()):
            continue
        found: dict[tuple[str, str] | None, ResourceRef] = {}
        for item in await gathering.listing("Pod", root.namespace):
            ref = meta.ref_of(root.cluster, "Pod", item)
            names = {use.name for use in config_uses(mapping(item, "spec")) if use.kind == "ConfigMap"}
            shared = [config for config in used if config.name in names]
            if ref in own or not shared or not _crashes(item) or meta.owner(item) in found:
                continue
            if len(found) == _KEPT:
                break
            found[meta.owner(item)] = ref
            gathering.keep("Pod", item)
            for config in shared:
                gathering.connect(ref, Relation.USES_CONFIG, config)


def _crashes(pod: JSON) -> bool:
    return pods.is_unready(pod) and any(
        state.waiting == pods.CRASH_LOOP for state in pods.container_states(pod)
    )
