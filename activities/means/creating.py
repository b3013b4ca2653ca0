"""Creating one object whose name is made of the operation's id, so that a repeated call finds it."""

from __future__ import annotations

import copy
import hashlib

from activities.errors import told
from activities.means import Judged, Progress, StoredOtherwise, Taken, find
from activities.means.patching import REFUSALS
from cortexops.domain.change import OPERATION_ANNOTATION, Change, Undo, diff, undo
from cortexops.domain.ids import digest
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import Effect, LedgerRow, effect_of_create
from cortexops.domain.resource import JSON
from cortexops.domain.snapshot import shown
from cortexops.ports.cluster import WritableCluster

_DRAWN = frozenset({
    "controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name",
})  # fmt: skip
"""Labels that the server gives to a Job's pods, other ones in each answer."""
_STEM = 50  # characters of the old name; with the hash it stays a label value (Jobs put it into one)


def name_for(stem: str, operation: str) -> str:
    """The name that this operation's object has, whoever runs it."""
    return f"{stem[:_STEM].rstrip('-.')}-{hashlib.sha256(operation.encode()).hexdigest()[:8]}"


def _as_answered(change: Change, answered: JSON) -> JSON:
    """What would be there: the server's own answer, without what it draws anew for every object."""
    spec: JSON = copy.deepcopy(answered.get("spec") or {})
    template: JSON = spec.get("template") or {}
    metadata: JSON = template.get("metadata") or {}
    metadata.pop("creationTimestamp", None)
    labels: JSON = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in _DRAWN}
    if metadata or labels:
        template["metadata"] = {k: v for k, v in metadata.items() if k != "labels"} | (
            {"labels": labels} if labels else {}
        )
    spec.pop("selector", None)
    return {"metadata": {"name": change.target.name}, "spec": spec}


class Creating:
    def bound(self, change: Change, operation: str) -> Change:
        body: JSON = copy.deepcopy(change.body or {})
        metadata = body.setdefault("metadata", {})
        metadata["name"] = name_for(change.target.name, operation)
        metadata.setdefault("annotations", {})[OPERATION_ANNOTATION] = operation
        target = change.target.model_copy(update={"kind": body["kind"], "name": metadata["name"]})
        return change.model_copy(update={"operation_id": operation, "body": body, "target": target})

    async def judge(self, cluster: WritableCluster, change: Change, live: JSON) -> Judged:
        object_ = _as_answered(change, await self._create(cluster, change, dry_run=True))
        nothing: JSON = {"metadata": {}, "spec": {}}
        written = change.model_copy(update={"outcome": digest(object_)})
        return Judged(tuple(diff(nothing, object_)), shown(nothing, object_), written)

    async def effect(self, cluster: WritableCluster, row: LedgerRow) -> tuple[Effect, JSON | None]:
        live = await find(cluster, row.change.target)
        return effect_of_create(row.change, live), live

    async def send(
        self, cluster: WritableCluster, row: LedgerRow, live: JSON | None, progress: Progress
    ) -> str:
        stored = _as_answered(row.change, await self._create(cluster, row.change))
        if row.change.outcome and digest(stored) != row.change.outcome:
            raise StoredOtherwise(row.change, f"the spec of {row.change.target} is another")
        return f"{row.change.target} was created"

    async def take_back(self, cluster: WritableCluster, row: LedgerRow) -> Taken:
        target = row.change.target
        plan = undo(row.change, await find(cluster, target), operation=f"{row.operation_id}.undo")
        if plan.verdict is Undo.ALREADY:
            return Taken(True, Reason.COMPENSATED, f"{target} is gone already")
        by_hand = (f"kubectl -n {target.namespace} get {target.kind.lower()} {target.name} -o yaml",)
        if plan.change is None:
            detail = f"{target} is not the one that was created; it is left alone"
            return Taken(False, Reason.COMPENSATION_REFUSED, detail, by_hand)
        try:
            await cluster.delete(target.kind, target.namespace, target.name, uid=plan.change.uid)
        except REFUSALS as error:
            return Taken(False, Reason.COMPENSATION_FAILED, f"the undo was refused: {told(error)}", by_hand)
        return Taken(True, Reason.COMPENSATED, f"{target}, which was created, is deleted with its pods")

    async def _create(self, cluster: WritableCluster, change: Change, *, dry_run: bool = False) -> JSON:
        body = change.body or {}
        return await cluster.create(change.target.kind, change.target.namespace, body, dry_run=dry_run)
