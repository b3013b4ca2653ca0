"""Roles and bindings of a service account that the API server refused something, as its program logs it."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.collectors._near import workloads
from activities.gathering import Gathering
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.denials import Denial, binds, denials
from cortexops.domain.kubernetes.values import text
from cortexops.domain.topology import Relation

_REFUSED = 3  # accounts and namespaces
_ROLES = 3


@collector("permissions", wave=4)
async def collect(gathering: Gathering) -> None:
    """Of the target's program or of one that it calls, whose logs are read by now."""
    asked: set[tuple[tuple[str, str], str]] = set()
    for workload in workloads(gathering):
        own = {ref for ref, _ in gathering.pods_of(workload)}
        for denial in denials([line for log in gathering.logs if log.pod in own for line in log.lines]):
            account = gathering.ref("ServiceAccount", *denial.account)
            gathering.connect(workload, Relation.ACTS_AS, account)
            if (denial.account, denial.where) not in asked and len(asked) < _REFUSED:
                asked.add((denial.account, denial.where))
                await _bindings(gathering, denial)


async def _bindings(gathering: Gathering, denial: Denial) -> None:
    account, where = denial.account, denial.where
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
