"""A JSON Patch with preconditions, and its inverse."""

from __future__ import annotations

from activities.errors import told
from activities.means import Judged, Progress, StoredOtherwise, Taken, find, not_reversible
from activities.means.removing import going, may_evict
from activities.means.restarting import still_used
from cortexops.domain.change import Change, Undo, UndoPlan, as_written, carries, diff, json_patch, undo
from cortexops.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Rejected
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import Effect, LedgerRow, effect_of_patch
from cortexops.domain.resource import JSON
from cortexops.domain.snapshot import commands_by_hand, foreign_lines, shown
from cortexops.domain.stored import outcome_of, settled_since, strayed, strayed_text
from cortexops.domain.words import counted
from cortexops.ports.cluster import WritableCluster

REFUSALS = (Forbidden, Rejected, InvalidInput, Conflict, NotFound)


async def send_patch(cluster: WritableCluster, change: Change, live: JSON, *, dry_run: bool = False) -> JSON:
    """The object as the server answers it."""
    target = change.target
    return await cluster.patch(
        target.kind, target.namespace, target.name, json_patch(change, live), dry_run=dry_run
    )


async def send_agreed(cluster: WritableCluster, change: Change, live: JSON) -> None:
    """Send the patch. Raises `StoredOtherwise` when the server stored something else than was agreed on."""
    check_stored(change, await send_patch(cluster, change, live))


def check_stored(change: Change, stored: JSON) -> None:
    """Raises `StoredOtherwise` when this is not what was agreed on."""
    fields = strayed(change, stored)
    if fields:
        raise StoredOtherwise(change, strayed_text(change, fields), stored)


def check_found(change: Change, live: JSON) -> None:
    """Of an object that carries the operation: raises `StoredOtherwise` when it can be told that what was stored
    is not what was agreed on. Once somebody has changed the object again, it cannot."""
    if settled_since(change, live):
        check_stored(change, live)


class Patching:
    def bound(self, change: Change, operation: str) -> Change:
        return change.model_copy(update={"operation_id": operation})

    async def judge(self, cluster: WritableCluster, change: Change, live: JSON) -> Judged:
        answered = await send_patch(cluster, change, live, dry_run=True)
        await may_evict(cluster, change.pods)
        pods = going(change.pods)
        written = as_written(change, answered).model_copy(update={"outcome": outcome_of(change, answered)})
        return Judged((*diff(live, answered), *pods), (*shown(live, answered), *pods), written)

    async def effect(self, cluster: WritableCluster, row: LedgerRow) -> tuple[Effect, JSON | None]:
        live = await find(cluster, row.change.target)
        return effect_of_patch(row.change, live), live

    async def send(
        self, cluster: WritableCluster, row: LedgerRow, live: JSON | None, progress: Progress
    ) -> str:
        await send_agreed(cluster, row.change, live or {})
        return ""

    async def take_back(self, cluster: WritableCluster, row: LedgerRow) -> Taken:
        live = await find(cluster, row.change.target)
        undoing = f"{row.operation_id}.undo"
        if live is not None and carries(live, undoing):
            return Taken(True, Reason.COMPENSATED, "the earlier values are back")
        plan = undo(row.change, live, operation=undoing)
        if plan.verdict is Undo.LASTING:
            return not_reversible(row)
        return still_used(row, await restored(cluster, row.change, plan, live))


async def restored(cluster: WritableCluster, change: Change, plan: UndoPlan, live: JSON | None) -> Taken:
    """Carry the inverse out, or say why not."""
    if plan.verdict is Undo.ALREADY:
        return Taken(True, Reason.COMPENSATED, "the earlier values were back already")
    by_hand = tuple(commands_by_hand(change))
    if plan.verdict is not Undo.POSSIBLE or plan.change is None or live is None:
        detail = (
            f"{change.target} is gone or was replaced; nothing is restored"
            if plan.verdict is Undo.GONE
            else f"{len(plan.foreign)} fields of {change.target} were changed by others since; left alone"
        )
        return Taken(False, Reason.COMPENSATION_REFUSED, detail, by_hand, foreign_lines(plan.foreign))
    try:
        answered = await send_patch(cluster, plan.change, live, dry_run=True)
        if unlike := strayed(plan.change, answered):
            detail = f"the API server would not store the earlier values: {strayed_text(plan.change, unlike)}"
            return Taken(False, Reason.COMPENSATION_FAILED, f"the undo was not sent: {detail}", by_hand)
        await send_agreed(cluster, plan.change, live)
    except StoredOtherwise as error:
        by_hand = tuple(commands_by_hand(as_written(change, error.stored)))
        return Taken(False, Reason.COMPENSATION_FAILED, f"the undo went wrong: {told(error)}", by_hand)
    except REFUSALS as error:
        return Taken(False, Reason.COMPENSATION_FAILED, f"the undo was refused: {told(error)}", by_hand)
    fields = sum(1 for field in change.edits if any(field.path == e.path for e in plan.change.edits))
    return Taken(True, Reason.COMPENSATED, f"{counted(fields, 'field')} of {change.target} restored")
