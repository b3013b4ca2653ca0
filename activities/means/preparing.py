"""From an action to its exact change: the plug-in computes it, this reads what the plug-in asks for."""

from __future__ import annotations

from datetime import datetime

from activities.actions import ACTIONS, Listing, ReadsLedger, ReadsLists
from activities.means import find
from cortexops.domain.action import Action, Prepared
from cortexops.domain.earlier import row_ref
from cortexops.domain.errors import Forbidden, InvalidInput
from cortexops.domain.kubernetes.meta import ref_of
from cortexops.domain.resource import JSON
from cortexops.ports.cluster import WritableCluster
from cortexops.ports.store import LedgerStore


async def prepare(
    cluster: WritableCluster, live: JSON, action: Action, at: datetime, ledger: LedgerStore | None = None
) -> Prepared:
    """The exact change by the action's own bounds. Raises `InvalidInput` or `Rejected` outside of them."""
    plugin = ACTIONS[action.type]
    if action.target.kind not in plugin.spec.kinds:
        raise InvalidInput("target", f"{action.type} does not act on a {action.target.kind}")
    reads = {ref.key: found for ref in plugin.reads(action) if (found := await find(cluster, ref))}
    if isinstance(plugin, ReadsLists):
        for listing in plugin.lists(action):
            reads |= await _listed(cluster, listing)
    if isinstance(plugin, ReadsLedger) and ledger is not None:
        for operation in plugin.operations(action):
            row = await ledger.row(operation)
            if row is not None:
                reads[row_ref(cluster.name, operation).key] = row.model_dump(mode="json")
    return plugin.prepare(live, action, reads, at)


async def _listed(cluster: WritableCluster, listing: Listing) -> dict[str, JSON]:
    try:
        found = await cluster.list(listing.kind, listing.namespace, fields=listing.fields)
    except Forbidden:
        if listing.needed:
            raise
        return {}
    return {ref_of(cluster.name, listing.kind, item).key: item for item in found.items}
