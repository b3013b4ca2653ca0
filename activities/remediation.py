"""Dry run, apply, verify, compensate: the same for every action, each safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from temporalio import activity

from activities.actions import ACTIONS
from activities.errors import for_temporal, heartbeating
from activities.health import subjects, utc_now, watch_health
from cortexops.contracts.remediation import (
    ApplyInput,
    ApplyOutcome,
    ApplyResult,
    CompensateInput,
    CompensateResult,
    DryRunInput,
    DryRunResult,
    Remediation,
    Step,
    VerifyInput,
)
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.change import Change, Preview, Undo, Verb, as_written, carries, diff, json_patch, undo
from cortexops.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Rejected
from cortexops.domain.ids import operation_id
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import Effect, LedgerRow, LedgerState, effect_of_delete, effect_of_patch
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.snapshot import commands_by_hand, snapshot_of
from cortexops.domain.verification import Phase, Verification
from cortexops.metrics import REMEDIATIONS
from cortexops.ports.cluster import WritableCluster
from cortexops.ports.store import AuditStore, LedgerStore

_SETTLED = {
    LedgerState.APPLIED: ApplyOutcome.APPLIED,
    LedgerState.VERIFIED: ApplyOutcome.APPLIED,
    LedgerState.COMPENSATED: ApplyOutcome.REFUSED,
    LedgerState.REFUSED: ApplyOutcome.REFUSED,
    LedgerState.UNKNOWN: ApplyOutcome.UNKNOWN,
}


class Books(LedgerStore, AuditStore, Protocol):
    """What remediation needs of the store."""


class RemediationActivities(Remediation):
    """Works with the writing identity of each cluster."""

    def __init__(self, clusters: Mapping[str, WritableCluster], books: Books) -> None:
        self._clusters = clusters
        self._books = books

    @activity.defn
    async def dry_run(self, question: DryRunInput) -> DryRunResult:
        action = question.action
        with for_temporal():
            cluster = self._cluster(action.target)
            plugin = ACTIONS[action.type]
            try:
                live = await _get(cluster, action.target)
                reads = {
                    ref.key: found for ref in plugin.reads(action) if (found := await _find(cluster, ref))
                }
                prepared = plugin.prepare(live, action, reads, utc_now())
                preview = await self._preview(cluster, prepared.change, live)
            except NotFound as error:
                return DryRunResult(ok=False, reason=Reason.OBJECT_GONE, detail=str(error))
            except Forbidden as error:
                return DryRunResult(ok=False, reason=Reason.DRY_RUN_FORBIDDEN, detail=str(error))
            except Conflict as error:
                return DryRunResult(ok=False, reason=Reason.OBJECT_CHANGED, detail=str(error))
            except (Rejected, InvalidInput) as error:
                return DryRunResult(ok=False, reason=Reason.DRY_RUN_REJECTED, detail=str(error))
            return DryRunResult(
                ok=True,
                reason=Reason.DRY_RUN_PASSED,
                detail=f"the API server accepts it: {len(preview.diff)} fields change",
                prepared=prepared,
                preview=preview,
                digest=preview.approval_digest(question.policy_revision),
            )

    @activity.defn
    async def apply(self, order: ApplyInput) -> ApplyResult:
        with for_temporal():
            async with heartbeating():
                result = await self._apply(order)
        REMEDIATIONS.labels(action=order.prepared.action.type, result=result.outcome).inc()
        return result

    async def _apply(self, order: ApplyInput) -> ApplyResult:
        prepared = order.prepared
        operation = operation_id(
            order.step.incident_id, order.step.attempt, order.step.step, prepared.action.hash
        )
        cluster = self._cluster(prepared.action.target)
        row = await self._books.row(operation)
        if row is None:
            intended = await self._intend(cluster, order, operation)
            if isinstance(intended, ApplyResult):
                return intended
            row = intended
        if row.state in _SETTLED:
            return _result(row, _SETTLED[row.state], Reason.APPLIED, row.detail)
        return await self._carry_out(cluster, row)

    async def _intend(
        self, cluster: WritableCluster, order: ApplyInput, operation: str
    ) -> LedgerRow | ApplyResult:
        """The dry run just before the act; if it still says what was approved, the intent is written down."""
        prepared = order.prepared
        change = prepared.change.model_copy(update={"operation_id": operation})
        try:
            live = await _get(cluster, change.target)
            preview, answered = await self._judged(cluster, change, live)
        except (NotFound, Conflict) as error:
            return await self._not_done(
                order.step, operation, ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED, str(error)
            )
        except (Forbidden, Rejected, InvalidInput) as error:
            return await self._not_done(
                order.step, operation, ApplyOutcome.REFUSED, Reason.APPLY_REFUSED, str(error)
            )
        if preview.approval_digest(order.policy_revision) != order.digest:
            detail = "the change is not the one that was agreed on: the object or the server's answer differs"
            return await self._not_done(
                order.step, operation, ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED, detail
            )
        now = utc_now()
        row = LedgerRow(
            operation_id=operation,
            incident_id=order.step.incident_id,
            attempt=order.step.attempt,
            step=order.step.step,
            plan_hash=prepared.action.hash,
            action=prepared.action,
            change=as_written(change, answered) if change.verb is Verb.PATCH else change,
            snapshot=snapshot_of(live),
            state=LedgerState.INTENT,
            created_at=now,
            updated_at=now,
        )
        entry = _entry(
            order.step, AuditType.INTENT, Reason.DRY_RUN_PASSED, str(prepared.action), operation, now=now
        )
        return await self._books.intend(row, entry)

    async def _carry_out(self, cluster: WritableCluster, row: LedgerRow) -> ApplyResult:
        """From a written intent: look whether it is done already, do it once, write down that it is done."""
        change = row.change
        effect, live = await self._effect(cluster, change)
        if effect is Effect.NOT_DONE:
            try:
                await self._send(cluster, change, live)
            except (Forbidden, Rejected, InvalidInput) as error:
                return await self._settled(row, LedgerState.REFUSED, Reason.APPLY_REFUSED, str(error))
            except (Conflict, NotFound) as error:
                effect, live = await self._effect(cluster, change)
                if effect is Effect.NOT_DONE:  # somebody else changed the object; ours was not applied
                    return await self._settled(row, LedgerState.REFUSED, Reason.OBJECT_CHANGED, str(error))
            else:
                effect = Effect.DONE
        if effect is Effect.UNKNOWN:
            detail = f"cannot tell whether {row.action} took effect: the object was changed by somebody else"
            return await self._settled(row, LedgerState.UNKNOWN, Reason.EFFECT_UNKNOWN, detail)
        return await self._settled(row, LedgerState.APPLIED, Reason.APPLIED, str(row.action))

    @activity.defn
    async def verify(self, question: VerifyInput) -> Verification:
        with for_temporal():
            cluster = self._cluster(question.action.target)
            row = await self._books.row(question.operation_id)
            since = row.created_at if row else utc_now() - timedelta(seconds=question.limits.window)
            async with heartbeating():
                verdict = await watch_health(
                    cluster,
                    _watched(question.action.target, question.subject),
                    question.limits,
                    since=since,
                    least_replicas=min(1, question.expected_replicas),
                    criteria=ACTIONS[question.action.type].spec.criteria,
                )
            if verdict.phase is Phase.SUCCESSFUL:
                entry = _entry(
                    question.step, AuditType.VERIFIED, Reason.VERIFIED, verdict.detail, question.operation_id
                )
                await self._books.settle(question.operation_id, LedgerState.VERIFIED, verdict.detail, entry)
            return verdict

    @activity.defn
    async def compensate(self, order: CompensateInput) -> CompensateResult:
        with for_temporal():
            row = await self._books.row(order.operation_id)
            if row is None:
                return CompensateResult(done=True, reason=Reason.COMPENSATED, detail="nothing was changed")
            async with heartbeating():
                result = await self._compensate(row, order)
                if not result.done:
                    return result
                verdict = await watch_health(
                    self._cluster(row.change.target),
                    _watched(row.change.target, order.subject),
                    order.limits,
                    since=utc_now(),
                )
        healthy = {Phase.SUCCESSFUL: True, Phase.FAILED: False}.get(verdict.phase)
        return result.model_copy(
            update={"healthy": healthy, "detail": f"{result.detail}; then {verdict.detail}"}
        )

    async def _compensate(self, row: LedgerRow, order: CompensateInput) -> CompensateResult:
        change = row.change
        if change.verb is Verb.DELETE:
            detail = f"{row.action} cannot be taken back"
            return CompensateResult(done=False, reason=Reason.NOT_REVERSIBLE, detail=detail)
        cluster = self._cluster(change.target)
        undoing = f"{row.operation_id}.undo"
        live = await _find(cluster, change.target)
        plan = undo(change, live, operation=undoing)
        if row.state is LedgerState.COMPENSATED or (live is not None and carries(live, undoing)):
            return await self._undone(row, "the earlier values are back")
        if plan.verdict is Undo.ALREADY:
            return await self._undone(row, "the earlier values were back already")
        by_hand = tuple(commands_by_hand(change))
        if plan.verdict is not Undo.POSSIBLE or plan.change is None or live is None:
            foreign = tuple(line for f in plan.foreign for line in diff(f.after, f.before, f.path))
            detail = (
                f"{change.target} is gone or was replaced; nothing is restored"
                if plan.verdict is Undo.GONE
                else f"{len(plan.foreign)} fields of {change.target} were changed by others since; left alone"
            )
            return await self._not_undone(row, Reason.COMPENSATION_REFUSED, detail, by_hand, foreign)
        try:
            await self._judged(cluster, plan.change, live)
            await self._send(cluster, plan.change, live)
        except (Forbidden, Rejected, InvalidInput, Conflict, NotFound) as error:
            detail = f"the undo was refused: {error}"
            return await self._not_undone(row, Reason.COMPENSATION_FAILED, detail, by_hand, ())
        return await self._undone(row, f"{len(plan.change.edits)} fields of {change.target} restored")

    async def _undone(self, row: LedgerRow, detail: str) -> CompensateResult:
        entry = _row_entry(row, AuditType.COMPENSATION_EXECUTED, Reason.COMPENSATED, detail)
        await self._books.settle(row.operation_id, LedgerState.COMPENSATED, detail, entry)
        REMEDIATIONS.labels(action=row.action.type, result="compensated").inc()
        return CompensateResult(done=True, reason=Reason.COMPENSATED, detail=detail)

    async def _not_undone(
        self, row: LedgerRow, reason: Reason, detail: str, commands: tuple[str, ...], foreign: tuple[Any, ...]
    ) -> CompensateResult:
        entry = _row_entry(row, AuditType.COMPENSATION_REFUSED, reason, detail)
        await self._books.settle(row.operation_id, LedgerState.UNKNOWN, detail, entry)
        REMEDIATIONS.labels(action=row.action.type, result="compensation_failed").inc()
        return CompensateResult(done=False, reason=reason, detail=detail, foreign=foreign, commands=commands)

    async def _effect(self, cluster: WritableCluster, change: Change) -> tuple[Effect, JSON | None]:
        live = await _find(cluster, change.target)
        look = effect_of_patch if change.verb is Verb.PATCH else effect_of_delete
        return look(change, live), live

    async def _preview(self, cluster: WritableCluster, change: Change, live: JSON) -> Preview:
        preview, _ = await self._judged(cluster, change, live)
        return preview

    async def _judged(self, cluster: WritableCluster, change: Change, live: JSON) -> tuple[Preview, JSON]:
        """What the API server would make of the change, without storing it."""
        answered = await self._send(cluster, change, live, dry_run=True)
        lines = (
            diff(live, answered) if change.verb is Verb.PATCH else diff({"exists": True}, {"exists": False})
        )
        preview = Preview(diff=tuple(lines), generation=live["metadata"].get("generation"), uid=change.uid)
        return preview, answered

    async def _send(
        self, cluster: WritableCluster, change: Change, live: JSON | None, *, dry_run: bool = False
    ) -> JSON:
        target = change.target
        if change.verb is Verb.DELETE:
            await cluster.delete(target.kind, target.namespace, target.name, uid=change.uid, dry_run=dry_run)
            return live or {}
        return await cluster.patch(
            target.kind, target.namespace, target.name, json_patch(change, live or {}), dry_run=dry_run
        )

    async def _not_done(
        self, step: Step, operation: str, outcome: ApplyOutcome, reason: Reason, detail: str
    ) -> ApplyResult:
        await self._books.append([_entry(step, AuditType.ACTION_REFUSED, reason, detail, operation)])
        return ApplyResult(outcome=outcome, reason=reason, detail=detail, operation_id=operation)

    async def _settled(self, row: LedgerRow, state: LedgerState, reason: Reason, detail: str) -> ApplyResult:
        type_ = {
            LedgerState.APPLIED: AuditType.ACTION_EXECUTED,
            LedgerState.REFUSED: AuditType.ACTION_REFUSED,
            LedgerState.UNKNOWN: AuditType.EFFECT_UNKNOWN,
        }[state]
        settled = await self._books.settle(
            row.operation_id, state, detail, _row_entry(row, type_, reason, detail)
        )
        outcome = _SETTLED[settled.state]
        if reason is Reason.OBJECT_CHANGED:
            outcome = ApplyOutcome.CHANGED
        return _result(settled, outcome, reason, detail)

    def _cluster(self, target: ResourceRef) -> WritableCluster:
        if target.cluster not in self._clusters:
            raise Forbidden(
                f"no writing identity is configured for cluster {target.cluster}: nothing can be changed"
            )
        return self._clusters[target.cluster]


def _result(row: LedgerRow, outcome: ApplyOutcome, reason: Reason, detail: str) -> ApplyResult:
    return ApplyResult(
        outcome=outcome, reason=reason, detail=detail, operation_id=row.operation_id, change=row.change
    )


def _watched(target: ResourceRef, subject: ResourceRef) -> list[ResourceRef]:
    """A node is judged by itself; any other target together with the object that the incident is about."""
    return subjects(target) if target.kind == "Node" else subjects(target, subject)


async def _get(cluster: WritableCluster, ref: ResourceRef) -> JSON:
    return await cluster.get(ref.kind, ref.namespace, ref.name)


async def _find(cluster: WritableCluster, ref: ResourceRef) -> JSON | None:
    try:
        return await _get(cluster, ref)
    except NotFound:
        return None


def _row_entry(row: LedgerRow, type_: AuditType, reason: Reason, detail: str) -> AuditEntry:
    step = Step(incident_id=row.incident_id, attempt=row.attempt, step=row.step)
    return _entry(step, type_, reason, detail, row.operation_id)


def _entry(
    step: Step, type_: AuditType, reason: Reason, detail: str, operation: str, *, now: datetime | None = None
) -> AuditEntry:
    return AuditEntry(
        chain=step.incident_id,
        type=type_,
        reason=reason,
        detail=detail,
        at=now or utc_now(),
        data={"operation": operation, "attempt": step.attempt},
        idempotency_key=f"{operation}:{type_}",
    )
