"""Dry run, apply, verify, compensate: the same for every action, each safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

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
from cortexops.domain.action import Action, Prepared
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.change import (
    Change,
    DiffLine,
    Preview,
    Undo,
    Verb,
    as_written,
    carries,
    diff,
    json_patch,
    undo,
)
from cortexops.domain.errors import Conflict, CortexError, Forbidden, InvalidInput, NotFound, Rejected
from cortexops.domain.ids import operation_id
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import Effect, LedgerRow, LedgerState, effect_of_delete, effect_of_patch
from cortexops.domain.redaction import redact
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.snapshot import commands_by_hand, foreign_lines, masked_change, shown, snapshot_of
from cortexops.domain.verification import Phase, Verification
from cortexops.domain.words import counted
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
_ANSWERS = (AuditType.ACTION_EXECUTED, AuditType.ACTION_REFUSED, AuditType.EFFECT_UNKNOWN)
_FOUND = {
    Effect.DONE: (LedgerState.APPLIED, AuditType.ACTION_EXECUTED, Reason.APPLIED),
    Effect.NOT_DONE: (LedgerState.REFUSED, AuditType.ACTION_REFUSED, Reason.APPLY_REFUSED),
    Effect.UNKNOWN: (LedgerState.UNKNOWN, AuditType.EFFECT_UNKNOWN, Reason.EFFECT_UNKNOWN),
}
_GOING = ({"exists": True}, {"exists": False})


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
            at = utc_now()
            try:
                cluster = self._cluster(action.target)
                live = await _get(cluster, action.target)
                prepared = await _prepare(cluster, live, action, at)
                preview, answered = await self._judged(cluster, prepared.change, live)
                if not preview.diff:
                    raise Rejected(f"{action} would change nothing")
            except NotFound as error:
                return _no(Reason.OBJECT_GONE, error)
            except Forbidden as error:
                return _no(Reason.DRY_RUN_FORBIDDEN, error)
            except Conflict as error:
                return _no(Reason.OBJECT_CHANGED, error)
            except (Rejected, InvalidInput) as error:
                return _no(Reason.DRY_RUN_REJECTED, error)
            return DryRunResult(
                ok=True,
                reason=Reason.DRY_RUN_PASSED,
                detail=f"the API server accepts it: {counted(len(preview.diff), 'field')} would change",
                prepared=prepared.model_copy(
                    update={"change": masked_change(prepared.change), "prepared_at": at}
                ),
                preview=preview.model_copy(update={"diff": _lines(prepared.change, live, answered)}),
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
            reason, detail = await self._said_before(row)
            return _result(row, _outcome(row, reason), reason, detail)
        return await self._carry_out(cluster, row)

    async def _intend(
        self, cluster: WritableCluster, order: ApplyInput, operation: str
    ) -> LedgerRow | ApplyResult:
        """The dry run just before the act; if it still says what was approved, the intent is written down."""
        action, seen = order.prepared.action, order.prepared.change
        try:
            live = await _get(cluster, action.target)
            if (live["metadata"].get("uid"), live["metadata"].get("generation")) != (
                seen.uid,
                seen.generation if seen.verb is Verb.PATCH else live["metadata"].get("generation"),
            ):
                raise Conflict(f"{action.target} was changed or replaced since the dry run")
            prepared = await self._prepared_again(cluster, live, order)
            change = prepared.change.model_copy(update={"operation_id": operation})
            preview, answered = await self._judged(cluster, change, live)
        except (NotFound, Conflict) as error:
            return await self._not_done(
                order.step, operation, ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED, _told(error)
            )
        except (Forbidden, Rejected, InvalidInput) as error:
            return await self._not_done(
                order.step, operation, ApplyOutcome.REFUSED, Reason.APPLY_REFUSED, _told(error)
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
            plan_hash=action.hash,
            action=action,
            change=as_written(change, answered) if change.verb is Verb.PATCH else change,
            snapshot=snapshot_of(live),
            state=LedgerState.INTENT,
            created_at=now,
            updated_at=now,
        )
        entry = _entry(order.step, AuditType.INTENT, Reason.DRY_RUN_PASSED, str(action), operation, now=now)
        return await self._books.intend(row, entry)

    async def _prepared_again(self, cluster: WritableCluster, live: JSON, order: ApplyInput) -> Prepared:
        """The change, computed anew within the action's bounds; what went through the dry run need not be
        trusted. Raises `Conflict` when code no longer offers it: then the object is another than it was."""
        try:
            return await _prepare(
                cluster, live, order.prepared.action, order.prepared.prepared_at or utc_now()
            )
        except Rejected as error:
            raise Conflict(str(error)) from error

    async def _carry_out(self, cluster: WritableCluster, row: LedgerRow) -> ApplyResult:
        """From a written intent: look whether it is done already, do it once, write down that it is done."""
        change = row.change
        effect, live = await self._effect(cluster, change)
        if effect is Effect.NOT_DONE:
            try:
                await self._send(cluster, change, live)
            except (Forbidden, Rejected, InvalidInput) as error:
                return await self._settled(row, LedgerState.REFUSED, Reason.APPLY_REFUSED, _told(error))
            except (Conflict, NotFound) as error:
                effect, live = await self._effect(cluster, change)
                if effect is Effect.NOT_DONE:  # somebody else changed the object; ours was not applied
                    return await self._settled(row, LedgerState.REFUSED, Reason.OBJECT_CHANGED, _told(error))
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
        if row.state is LedgerState.INTENT:
            row = await self._cleared_up(row)
        if row.state is LedgerState.REFUSED:
            return CompensateResult(done=True, reason=Reason.COMPENSATED, detail="nothing was changed")
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
            detail = (
                f"{change.target} is gone or was replaced; nothing is restored"
                if plan.verdict is Undo.GONE
                else f"{len(plan.foreign)} fields of {change.target} were changed by others since; left alone"
            )
            foreign = foreign_lines(plan.foreign)
            return await self._not_undone(row, Reason.COMPENSATION_REFUSED, detail, by_hand, foreign)
        try:
            await self._judged(cluster, plan.change, live)
            await self._send(cluster, plan.change, live)
        except (Forbidden, Rejected, InvalidInput, Conflict, NotFound) as error:
            detail = f"the undo was refused: {_told(error)}"
            return await self._not_undone(row, Reason.COMPENSATION_FAILED, detail, by_hand, ())
        return await self._undone(row, f"{len(plan.change.edits)} fields of {change.target} restored")

    async def _cleared_up(self, row: LedgerRow) -> LedgerRow:
        """The row of a change that was never settled (its worker died), settled by a look at the object."""
        effect, _ = await self._effect(self._cluster(row.change.target), row.change)
        state, type_, reason = _FOUND[effect]
        detail = f"found out by a look at the object: {row.action}"
        return await self._books.settle(
            row.operation_id, state, detail, _row_entry(row, type_, reason, detail)
        )

    async def _undone(self, row: LedgerRow, detail: str) -> CompensateResult:
        entry = _row_entry(row, AuditType.COMPENSATION_EXECUTED, Reason.COMPENSATED, detail)
        await self._books.settle(row.operation_id, LedgerState.COMPENSATED, detail, entry)
        REMEDIATIONS.labels(action=row.action.type, result="compensated").inc()
        return CompensateResult(done=True, reason=Reason.COMPENSATED, detail=detail)

    async def _not_undone(
        self,
        row: LedgerRow,
        reason: Reason,
        detail: str,
        commands: tuple[str, ...],
        foreign: tuple[DiffLine, ...],
    ) -> CompensateResult:
        entry = _row_entry(row, AuditType.COMPENSATION_REFUSED, reason, detail)
        await self._books.settle(row.operation_id, LedgerState.UNKNOWN, detail, entry)
        REMEDIATIONS.labels(action=row.action.type, result="compensation_failed").inc()
        return CompensateResult(done=False, reason=reason, detail=detail, foreign=foreign, commands=commands)

    async def _effect(self, cluster: WritableCluster, change: Change) -> tuple[Effect, JSON | None]:
        live = await _find(cluster, change.target)
        look = effect_of_patch if change.verb is Verb.PATCH else effect_of_delete
        return look(change, live), live

    async def _judged(self, cluster: WritableCluster, change: Change, live: JSON) -> tuple[Preview, JSON]:
        """What the API server would make of the change, without storing it. The diff's values are bare."""
        answered = await self._send(cluster, change, live, dry_run=True)
        lines = diff(live, answered) if change.verb is Verb.PATCH else diff(*_GOING)
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
    ) -> LedgerRow | ApplyResult:
        """Nothing was done, unless another run of this very step got further meanwhile: then its row counts."""
        row = await self._books.row(operation)
        if row is not None:
            return row
        entry = _entry(step, AuditType.ACTION_REFUSED, reason, detail, operation)
        key = f"{entry.idempotency_key}:before_intent"  # a later try may get further and be refused there
        await self._books.append([entry.model_copy(update={"idempotency_key": key})])
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
        return _result(settled, _outcome(settled, reason), reason, detail)

    async def _said_before(self, row: LedgerRow) -> tuple[Reason, str]:
        """What was answered when the row was settled: a repeated call answers the same."""
        for event in reversed(await self._books.events(row.incident_id)):
            if event.type in _ANSWERS and event.data.get("operation") == row.operation_id:
                return Reason(event.reason), event.detail
        return Reason.EFFECT_UNKNOWN, row.detail

    def _cluster(self, target: ResourceRef) -> WritableCluster:
        if target.cluster not in self._clusters:
            raise Forbidden(
                f"no writing identity is configured for cluster {target.cluster}: nothing can be changed"
            )
        return self._clusters[target.cluster]


async def _prepare(cluster: WritableCluster, live: JSON, action: Action, at: datetime) -> Prepared:
    """The exact change by the action's own bounds. Raises `InvalidInput` or `Rejected` outside of them."""
    plugin = ACTIONS[action.type]
    if action.target.kind not in plugin.spec.kinds:
        raise InvalidInput("target", f"{action.type} does not act on a {action.target.kind}")
    reads = {ref.key: found for ref in plugin.reads(action) if (found := await _find(cluster, ref))}
    return plugin.prepare(live, action, reads, at)


def _lines(change: Change, live: JSON, answered: JSON) -> tuple[DiffLine, ...]:
    """The server's diff as approvers see it."""
    return shown(live, answered) if change.verb is Verb.PATCH else shown(*_GOING)


def _no(reason: Reason, error: CortexError) -> DryRunResult:
    return DryRunResult(ok=False, reason=reason, detail=_told(error))


def _told(error: CortexError) -> str:
    """The error's text; what it quotes of the object may hold a secret."""
    return redact(str(error)).text


def _outcome(row: LedgerRow, reason: Reason) -> ApplyOutcome:
    return ApplyOutcome.CHANGED if reason is Reason.OBJECT_CHANGED else _SETTLED[row.state]


def _result(row: LedgerRow, outcome: ApplyOutcome, reason: Reason, detail: str) -> ApplyResult:
    return ApplyResult(
        outcome=outcome,
        reason=reason,
        detail=detail,
        operation_id=row.operation_id,
        change=masked_change(row.change),
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
