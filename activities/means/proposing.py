"""A pull request in place of a change: the cluster is not written to, a person merges."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from activities.errors import told
from activities.means import Judged, Progress, Taken, find
from cortexops.domain.change import Change
from cortexops.domain.errors import Conflict, Forbidden, NotFound, Rejected
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import Effect, LedgerRow
from cortexops.domain.manifest import Proposal
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.snapshot import masked_edit
from cortexops.ports.cluster import WritableCluster
from cortexops.ports.forge import Fate, Forge

_THERE = frozenset({Fate.OPEN, Fate.MERGED, Fate.CLOSED})


@runtime_checkable
class Permits(Protocol):
    """A cluster's client that may be told to stop: it is asked before anything is written anywhere."""

    async def permit(self, target: ResourceRef) -> None:
        """Raises `Rejected` while changes of the object are stopped."""
        ...


class Proposing:
    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    def bound(self, change: Change, operation: str) -> Change:
        return change.model_copy(update={"operation_id": operation})

    async def judge(self, cluster: WritableCluster, change: Change, live: JSON) -> Judged:
        lines = await self._forge.preview(_proposal(change))
        return Judged(lines.bare, lines.shown, change)

    async def effect(self, cluster: WritableCluster, row: LedgerRow) -> tuple[Effect, JSON | None]:
        live = await find(cluster, row.change.target)
        found = await self._forge.look(row.operation_id, _proposal(row.change))
        if found.fate is Fate.FOREIGN:
            return Effect.UNKNOWN, live
        return Effect.DONE if found.fate in _THERE else Effect.NOT_DONE, live

    async def send(
        self, cluster: WritableCluster, row: LedgerRow, live: JSON | None, progress: Progress
    ) -> str:
        if isinstance(cluster, Permits):
            await cluster.permit(row.change.target)
        proposal = _proposal(row.change)
        edits = [masked_edit(edit) for edit in proposal.edits]
        lines = [f"- `{edit}`: {_plain(edit.before)} → {_plain(edit.after)}" for edit in edits]
        found = await self._forge.propose(
            row.operation_id,
            proposal,
            title=f"{row.action.params.get('remedy', 'change')} {row.change.target}",
            body=f"Incident {row.incident_id}, proposed by CortexOps.\n\n" + "\n".join(lines),
            at=row.created_at,
        )
        return f"{found.url} is {found.fate}: a person reviews and merges it"

    async def take_back(self, cluster: WritableCluster, row: LedgerRow) -> Taken:
        try:
            if isinstance(cluster, Permits):
                await cluster.permit(row.change.target)
            found = await self._forge.withdraw(row.operation_id, _proposal(row.change))
        except (Forbidden, Rejected, Conflict, NotFound) as error:
            return Taken(False, Reason.COMPENSATION_FAILED, f"the undo was refused: {told(error)}")
        if found.fate is Fate.MERGED:
            detail = f"{found.url} was merged: revert it in Git"
            return Taken(False, Reason.COMPENSATION_REFUSED, detail, (f"git revert {found.commit}",))
        if found.fate is Fate.FOREIGN:
            detail = f"somebody has changed the branch of {found.url or row.operation_id}; it is left alone"
            return Taken(False, Reason.COMPENSATION_REFUSED, detail)
        if found.fate is Fate.NONE:
            return Taken(True, Reason.COMPENSATED, "no pull request is there")
        return Taken(True, Reason.COMPENSATED, f"{found.url or 'the branch'} is closed, its branch deleted")


def _proposal(change: Change) -> Proposal:
    return Proposal.model_validate(change.body)


def _plain(value: object) -> str:
    return "(absent)" if value is None else f"`{value}`"
