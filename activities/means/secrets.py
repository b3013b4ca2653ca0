"""Patching a Secret: no value of it leaves the cluster, not even into the ledger.

The ledger keeps which fields were changed. What undo needs (the earlier value, and the digest of the one
that was written) stands in an annotation of the Secret itself, read by whoever may read the Secret.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from activities.means import Judged, Progress, Taken, find
from activities.means.patching import Patching, restored, send_agreed
from activities.means.preparing import prepare
from activities.means.restarting import still_used
from cortexops.domain.change import Change, DiffLine, FieldEdit, carries, edit, lookup, undo
from cortexops.domain.errors import Conflict, Rejected
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import Effect, LedgerRow
from cortexops.domain.redaction import BY_NAME
from cortexops.domain.resource import JSON
from cortexops.domain.snapshot import KEPT_VALUES, commands_by_hand, masked_change
from cortexops.ports.cluster import WritableCluster

_HIDDEN = json.dumps(BY_NAME)


def keeping(change: Change, live: JSON) -> Change:
    """The change together with the note of the values that it replaces."""
    kept = {
        field.path: {
            "present": field.before_present,
            "before": field.before,
            "wrote": _digest(field.after) if field.after_present else None,
        }
        for field in change.edits
    }
    note = base64.b64encode(json.dumps(kept, sort_keys=True).encode()).decode()
    return change.model_copy(update={"edits": (*change.edits, edit(live, KEPT_VALUES, note))})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


class SecretPatching(Patching):
    async def judge(self, cluster: WritableCluster, change: Change, live: JSON) -> Judged:
        judged = await super().judge(cluster, keeping(change, live), live)
        bare = tuple(line for line in judged.bare if not _is_note(line.path))
        shown = tuple(line for line in judged.shown if not _is_note(line.path))
        return Judged(bare, shown, masked_change(change))

    async def effect(self, cluster: WritableCluster, row: LedgerRow) -> tuple[Effect, JSON | None]:
        """Without values to compare, the object's version says whether anything happened to it."""
        live = await find(cluster, row.change.target)
        if live is None or live["metadata"].get("uid") != row.change.uid:
            return Effect.UNKNOWN, live
        if carries(live, row.operation_id):
            return Effect.DONE, live
        untouched = live["metadata"].get("resourceVersion") == row.snapshot.get("resourceVersion")
        return Effect.NOT_DONE if untouched else Effect.UNKNOWN, live

    async def send(
        self, cluster: WritableCluster, row: LedgerRow, live: JSON | None, progress: Progress
    ) -> str:
        """The values are computed once more: the ledger does not hold them."""
        assert live is not None
        try:
            again = (await prepare(cluster, live, row.action, row.created_at)).change
        except Rejected as error:
            raise Conflict(str(error)) from error
        if [field.path for field in again.edits] != [field.path for field in row.change.edits]:
            raise Conflict(f"{row.change.target} is not the one that was looked at")
        await send_agreed(cluster, keeping(self.bound(again, row.operation_id), live), live)
        return ""

    async def take_back(self, cluster: WritableCluster, row: LedgerRow) -> Taken:
        change, undoing = row.change, f"{row.operation_id}.undo"
        live = await find(cluster, change.target)
        if live is not None and carries(live, undoing):
            return Taken(True, Reason.COMPENSATED, "the earlier values are back")
        by_hand = tuple(commands_by_hand(change))
        if live is None or live["metadata"].get("uid") != change.uid:
            detail = f"{change.target} is gone or was replaced; nothing is restored"
            return Taken(False, Reason.COMPENSATION_REFUSED, detail, by_hand)
        kept = _note(live)
        if not carries(live, row.operation_id) or not {f.path for f in change.edits} <= kept.keys():
            detail = f"{change.target} no longer keeps the values from before the change; it is left alone"
            return Taken(False, Reason.COMPENSATION_REFUSED, detail, by_hand)
        real = change.model_copy(update={"edits": tuple(_real(live, f.path, kept) for f in change.edits)})
        plan = undo(real, live, operation=undoing)
        if plan.change is not None:
            cleared = edit(live, KEPT_VALUES, None, remove=True)
            plan = plan.model_copy(
                update={"change": plan.change.model_copy(update={"edits": (*plan.change.edits, cleared)})}
            )
        taken = still_used(row, await restored(cluster, real, plan, live))
        foreign = tuple(DiffLine(path=line.path, before=_HIDDEN, after=_HIDDEN) for line in taken.foreign)
        return taken._replace(commands=by_hand if taken.commands else (), foreign=foreign)


def _is_note(path: str) -> bool:
    return path.startswith(KEPT_VALUES) or KEPT_VALUES.startswith(path)


def _note(live: JSON) -> dict[str, JSON]:
    """What the annotation says, empty when it is not ours."""
    _, text = lookup(live, KEPT_VALUES)
    try:
        kept = json.loads(base64.b64decode(text, validate=True)) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) and all(isinstance(v, dict) for v in kept.values()) else {}


def _real(live: JSON, path: str, kept: dict[str, JSON]) -> FieldEdit:
    """The edit with its values: what was there from the note, what we wrote if that is what is there."""
    present, now = lookup(live, path)
    note = kept[path]
    ours = present == (note.get("wrote") is not None) and (not present or _digest(now) == note.get("wrote"))
    return FieldEdit(
        path=path,
        before=note.get("before"),
        before_present=bool(note.get("present")),
        after=now if ours else {"written": note.get("wrote")},
        after_present=note.get("wrote") is not None,
    )
