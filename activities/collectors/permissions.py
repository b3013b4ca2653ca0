"""Roles and bindings of a service account that the API server refused something, as its program logs it."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.denials import binds, denials
from cortexops.domain.kubernetes.values import text
from cortexops.domain.topology import Relation

_ROLES = 3


@collector("permissions", wave=3)
async def collect(gathering: Gathering) -> None:
    refused = denials([line for log in gathering.logs for line in log.lines])
    if not refused:
        return
    account, where = refused[0].account, refused[0].where
    gathering.connect(
        gathering.roots[0], Relation.ACTS_AS, gathering.ref("ServiceAccount", account[0], account[1])
    )
    asked = [gathering.listing("ClusterRoleBinding")]
    if where:
        asked.append(gathering.listing("RoleBinding", where))
    lists = await asyncio.gather(*asked, gathering.get("ServiceAccount", *account, required=True))
    roles: dict[tuple[str, str, str], None] = {}
    for kind, items in zip(("ClusterRoleBinding", "RoleBinding"), lists[: len(asked)], strict=False):
        for item in items if isinstance(items, list) else []:
            if binds(item, account):
                gathering.keep(kind, item)
                role = text(item, "roleRef", "kind"), text(item, "roleRef", "name")
                roles.setdefault((role[0], meta.namespace(item) if role[0] == "Role" else "", role[1]))
    await asyncio.gather(
        *(gathering.get(*role, required=True) for role in list(roles)[:_ROLES] if role[0] in _KNOWN)
    )


_KNOWN = ("Role", "ClusterRole")
