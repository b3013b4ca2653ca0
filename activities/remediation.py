"""Dry run, apply, verify, compensate: the same for every action, each safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from temporalio import activity

from activities.actions import ACTIONS
from activities.bookkeeping import (
    FOUND,
    SETTLED,
    Books,
    entry,
    handed_over,
    no,
    part_entry,
    result,
    row_entry,
    said_before,
    settled,
)
from activities.errors import for_temporal, heartbeating, told
from activities.health import subjects, utc_now, watch_health
from activities.means import Judged, Means, StoredOtherwise, Taken, get, not_reversible
from activities.means.creating import Creating
from activities.means.draining import Draining
from activities.means.patching import Patching, check_found
from activities.means.preparing import prepare
from activities.means.proposing import Proposing
from activities.means.removing import Deleting, Evicting
from activities.means.restarting import restart
from activities.means.secrets import SecretPatching
from activities.metric_health import MetricHealth, metric_watch
from activities.patience import AGAIN, ROLES_ARE_READ, once_permitted
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
from cortexops.domain.audit import AuditType
from cortexops.domain.change import Change, Preview, Verb, as_written, carries
from cortexops.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Rejected, TemporaryError
from cortexops.domain.ids import operation_id
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import Effect, LedgerRow, LedgerState
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.snapshot import commands_by_hand, masked_change, snapshot_of
from cortexops.domain.verification import Phase, Verification
from cortexops.domain.words import counted
from cortexops.domain.workload import scaled_by
from cortexops.metrics import REMEDIATIONS
from cortexops.ports.cluster import WritableCluster
from cortexops.ports.forge import Forge

__all__ = ["Books", "RemediationActivities"]

_BOUND_TO_GENERATION = (Verb.PATCH, Verb.DRAIN)


class RemediationActivities(Remediation):
    """Works with the writing identity of each cluster."""

    forge: Forge | None = None  # without, nothing can be proposed in Git
    metrics: MetricHealth | None = None  # without, verification asks the API server only

    def __init__(self, clusters: Mapping[str, WritableCluster], books: Books) -> None:
        self._clusters = clusters
        self._books = books
        self._means: dict[Verb, Means] = {
            Verb.PATCH: Patching(),
            Verb.DELETE: Deleting(),
            Verb.CREATE: Creating(),
            Verb.EVICT: Evicting(),
            Verb.DRAIN: Draining(),
        }
        self._secrets = SecretPatching()

    @activity.defn
    async def dry_run(self, question: DryRunInput) -> DryRunResult:
        action = question.action
        with for_temporal():
            at = utc_now()
            try:
                cluster = self._cluster(action.target)
                live = await get(cluster, action.target)
                prepared = await prepare(cluster, live, action, at, self._books)
                if prepared.change.verb is Verb.NOTHING:
                    detail = f"no change was chosen, a person takes over: {action.said('reason')}"
                    return DryRunResult(ok=False, reason=Reason.ESCALATION_CHOSEN, detail=detail)
                # without our mark, which binds a patch to the object's version where it has no annotations:
                # a status that was written meanwhile must not look like a changed object
                named = prepared.change.verb is Verb.CREATE
                operation = _operation(question.step, action) if named else ""
                judged, preview = await self._judged(cluster, prepared.change, live, operation)
                if not preview.diff:
                    raise Rejected(f"{action} would change nothing")
            except NotFound as error:
                return no(Reason.OBJECT_GONE, error)
            except Forbidden as error:
                return no(Reason.DRY_RUN_FORBIDDEN, error)
            except Conflict as error:
                return no(Reason.OBJECT_CHANGED, error)
            except (Rejected, InvalidInput) as error:
                return no(Reason.DRY_RUN_REJECTED, error)
            return DryRunResult(
                ok=True,
                reason=Reason.DRY_RUN_PASSED,
                detail=f"the API server accepts it: {counted(len(preview.diff), 'field')} would change",
                prepared=prepared.model_copy(
                    update={"change": masked_change(prepared.change), "prepared_at": at}
                ),
                preview=preview.model_copy(update={"diff": judged.shown}),
                digest=preview.approval_digest(question.policy_revision),
            )

    @activity.defn
    async def apply(self, order: ApplyInput) -> ApplyResult:
        with for_temporal():
            async with heartbeating():
                done = await self._apply(order)
        REMEDIATIONS.labels(action=order.prepared.action.type, result=done.outcome).inc()
        return done

    async def _apply(self, order: ApplyInput) -> ApplyResult:
        action = order.prepared.action
        operation = _operation(order.step, action)
        cluster = self._cluster(action.target)
        row = await self._books.row(operation)
        if row is None:
            intended = await self._intend(cluster, order, operation)
            if isinstance(intended, ApplyResult):
                return intended
            row = intended
        if row.state in SETTLED:
            return result(row, *await said_before(self._books, row))
        return await self._carry_out(cluster, row)

    async def _intend(
        self, cluster: WritableCluster, order: ApplyInput, operation: str
    ) -> LedgerRow | ApplyResult:
        """The dry run just before the act; if it still says what was approved, the intent is written down."""
        action, seen = order.prepared.action, order.prepared.change
        try:
            live = await get(cluster, action.target)
            present = live["metadata"].get("generation")
            if (live["metadata"].get("uid"), present) != (
                seen.uid,
                seen.generation if seen.verb in _BOUND_TO_GENERATION else present,
            ):
                raise Conflict(f"{action.target} was changed or replaced since the dry run")
            prepared = await self._prepared_again(cluster, live, order)
            judged, preview = await self._judged(cluster, prepared.change, live, operation)
        except (NotFound, Conflict) as error:
            return await self._not_done(
                order.step, operation, ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED, told(error)
            )
        except (Forbidden, Rejected, InvalidInput) as error:
            return await self._not_done(
                order.step, operation, ApplyOutcome.REFUSED, Reason.APPLY_REFUSED, told(error)
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
            change=judged.written,
            snapshot=snapshot_of(live),
            state=LedgerState.INTENT,
            created_at=now,
            updated_at=now,
        )
        intent = entry(order.step, AuditType.INTENT, Reason.DRY_RUN_PASSED, str(action), operation, now=now)
        return await self._books.intend(row, intent)

    async def _prepared_again(self, cluster: WritableCluster, live: JSON, order: ApplyInput) -> Prepared:
        """The change, computed anew within the action's bounds; what went through the dry run need not be
        trusted. Raises `Conflict` when code no longer offers it: then the object is another than it was."""
        try:
            return await prepare(
                cluster,
                live,
                order.prepared.action,
                order.prepared.prepared_at or utc_now(),
                self._books,
            )
        except Rejected as error:
            raise Conflict(str(error)) from error

    async def _carry_out(self, cluster: WritableCluster, row: LedgerRow) -> ApplyResult:
        """From a written intent: look whether it is done already, do it once, write down that it is done."""
        means = self._by(row.change)
        said = ""

        async def progress(key: str, detail: str) -> None:
            await self._books.append([part_entry(row, key, detail)])

        effect, live = await self._effect(cluster, row)
        if effect is Effect.NOT_DONE:
            try:
                said = await means.send(cluster, row, live, progress)
            except (Forbidden, Rejected, InvalidInput) as error:
                return await settled(self._books, row, LedgerState.REFUSED, Reason.APPLY_REFUSED, told(error))
            except (Conflict, NotFound) as error:
                effect, live = await means.effect(cluster, row)
                if effect is Effect.NOT_DONE:  # somebody else changed the object; ours was not applied
                    return await settled(
                        self._books, row, LedgerState.REFUSED, Reason.OBJECT_CHANGED, told(error)
                    )
            except StoredOtherwise as error:
                return await self._otherwise(row, error)
            else:
                effect, live = Effect.DONE, None
        if effect is Effect.DONE and live is not None:  # a run before this one did it: how did it come out?
            try:
                check_found(row.change, live)
            except StoredOtherwise as error:
                return await self._otherwise(row, error)
        if effect is Effect.UNKNOWN:
            detail = f"cannot tell whether {row.action} took effect: {_fate(row.change, live)}"
            return await settled(self._books, row, LedgerState.UNKNOWN, Reason.EFFECT_UNKNOWN, detail)
        if row.change.verb is Verb.PATCH and row.change.pods:  # a run before this one may have got no further
            said, by_hand = await restart(cluster, row)
            if by_hand:  # it helps once a person has gone on; to take it back would help nobody
                still = f"{said}\n# these run with the earlier value:"
                return await handed_over(self._books, row, Reason.RESTART_NEEDED, still, by_hand)
        detail = f"{row.action}: {said}" if said else str(row.action)
        reason = Reason.PULL_REQUEST_OPENED if row.change.verb is Verb.PROPOSE else Reason.APPLIED
        return await settled(self._books, row, LedgerState.APPLIED, reason, detail)

    async def _effect(self, cluster: WritableCluster, row: LedgerRow) -> tuple[Effect, JSON | None]:
        """Whether the change of a written intent is done. Moments ago the object could be read: when it may not
        be now, the API server may just have started and not have read its roles yet, so it is asked again."""
        try:
            return await self._by(row.change).effect(cluster, row)
        except Forbidden as error:
            if utc_now() - row.created_at > ROLES_ARE_READ:
                raise
            raise TemporaryError(told(error), delay=AGAIN) from error

    async def _otherwise(self, row: LedgerRow, error: StoredOtherwise) -> ApplyResult:
        """It is made, and not as people were shown: nothing more is done by itself, a person gets the commands."""
        by_hand = commands_by_hand(as_written(row.change, error.stored))
        return await handed_over(self._books, row, Reason.EFFECT_DIFFERS, told(error), by_hand)

    @activity.defn
    async def verify(self, question: VerifyInput) -> Verification:
        with for_temporal():
            cluster = self._cluster(question.action.target)
            row = await self._books.row(question.operation_id)
            since = row.created_at if row else utc_now() - timedelta(seconds=question.limits.window)
            target = row.change.target if row else question.action.target
            async with heartbeating():
                metrics = await metric_watch(self.metrics, question, since)
                verdict = await watch_health(
                    cluster,
                    _watched(question.action, target, question.subject, row.change if row else None),
                    question.limits,
                    since=since,
                    least_replicas=min(1, question.expected_replicas),
                    criteria=ACTIONS[question.action.type].spec.criteria,
                    change=row.change if row else None,
                    also=metrics.measure if metrics else None,
                    longer=metrics.limits if metrics else None,
                )
            if verdict.phase is Phase.SUCCESSFUL:
                verified = entry(
                    question.step, AuditType.VERIFIED, Reason.VERIFIED, verdict.detail, question.operation_id
                )
                await self._books.settle(
                    question.operation_id, LedgerState.VERIFIED, verdict.detail, verified
                )
            return verdict

    @activity.defn
    async def compensate(self, order: CompensateInput) -> CompensateResult:
        with for_temporal():
            row = await self._books.row(order.operation_id)
            if row is None:
                return CompensateResult(done=True, reason=Reason.COMPENSATED, detail="nothing was changed")
            async with heartbeating():
                undone, told_as = await self._compensate(row)
                if not undone.done:
                    _count(row.action, told_as)
                    return undone
                cluster = self._cluster(row.change.target)
                watched = _watched(row.action, row.action.target, order.subject)
                since = utc_now()
                metrics = await metric_watch(self.metrics, _asked(order, row), since, made=row.created_at)
                verdict = await watch_health(
                    cluster,
                    watched,
                    order.limits,
                    since=since,
                    also=metrics.measure if metrics else None,
                    longer=metrics.limits if metrics else None,
                )
        _count(row.action, told_as)  # once: until here a failing watch lets all of it be tried again
        healthy = {Phase.SUCCESSFUL: True, Phase.FAILED: False}.get(verdict.phase)
        return undone.model_copy(
            update={"healthy": healthy, "detail": f"{undone.detail}; then {verdict.detail}"}
        )

    async def _compensate(self, row: LedgerRow) -> tuple[CompensateResult, str]:
        """What became of the undo, and as what it is counted: not at all where nothing was changed."""
        cluster = self._cluster(row.change.target)
        try:
            if row.state is LedgerState.INTENT:
                unsettled = row
                row = await once_permitted(lambda: self._cleared_up(cluster, unsettled))
            if row.state is LedgerState.REFUSED:
                nothing = "nothing was changed"
                return CompensateResult(done=True, reason=Reason.COMPENSATED, detail=nothing), ""
            taken = await self._taken_back(cluster, row)
        except Forbidden as error:
            detail = f"{row.change.target} may not be read, so nothing was restored: {told(error)}"
            by_hand = tuple(commands_by_hand(row.change))
            taken = Taken(False, Reason.COMPENSATION_FAILED, detail, by_hand)
        if taken.done:
            state, type_, told_as = LedgerState.COMPENSATED, AuditType.COMPENSATION_EXECUTED, "compensated"
        elif taken.reason is Reason.NOT_REVERSIBLE:  # it stays as it is recorded
            state, type_, told_as = row.state, AuditType.COMPENSATION_REFUSED, "not_reversible"
        else:
            state, type_ = LedgerState.UNKNOWN, AuditType.COMPENSATION_REFUSED
            told_as = "compensation_failed"
        noted = row_entry(row, type_, taken.reason, taken.detail)
        await self._books.settle(row.operation_id, state, taken.detail, noted)
        done = CompensateResult(
            done=taken.done,
            reason=taken.reason,
            detail=taken.detail,
            foreign=taken.foreign,
            commands=taken.commands,
        )
        return done, told_as

    async def _taken_back(self, cluster: WritableCluster, row: LedgerRow) -> Taken:
        if row.state is LedgerState.COMPENSATED:
            return Taken(True, Reason.COMPENSATED, "the earlier values are back")
        if row.action.type in ACTIONS and not ACTIONS[row.action.type].spec.reversible:
            return not_reversible(row)
        means = self._by(row.change)
        return await once_permitted(lambda: means.take_back(cluster, row))

    async def _cleared_up(self, cluster: WritableCluster, row: LedgerRow) -> LedgerRow:
        """The row of a change that was never settled (its worker died), settled by a look at the object."""
        effect, live = await self._by(row.change).effect(cluster, row)
        if effect is Effect.NOT_DONE and live is not None and carries(live, row.operation_id):
            effect = Effect.DONE  # it was begun, as a drain that left pods: there is something to take back
        state, type_, reason = FOUND[effect]
        detail = f"found out by a look at the object: {row.action}"
        return await self._books.settle(
            row.operation_id, state, detail, row_entry(row, type_, reason, detail)
        )

    async def _judged(
        self, cluster: WritableCluster, change: Change, live: JSON, operation: str
    ) -> tuple[Judged, Preview]:
        """What the other side would make of the change, without storing it. The preview's values are bare."""
        means = self._by(change)
        judged = await means.judge(cluster, means.bound(change, operation), live)
        preview = Preview(diff=judged.bare, generation=live["metadata"].get("generation"), uid=change.uid)
        return judged, preview

    async def _not_done(
        self, step: Step, operation: str, outcome: ApplyOutcome, reason: Reason, detail: str
    ) -> LedgerRow | ApplyResult:
        """Nothing was done, unless another run of this very step got further meanwhile: then its row counts."""
        row = await self._books.row(operation)
        if row is not None:
            return row
        refused = entry(step, AuditType.ACTION_REFUSED, reason, detail, operation)
        key = f"{refused.idempotency_key}:before_intent"  # a later try may get further and be refused there
        await self._books.append([refused.model_copy(update={"idempotency_key": key})])
        return ApplyResult(outcome=outcome, reason=reason, detail=detail, operation_id=operation)

    def _by(self, change: Change) -> Means:
        """The means for this change. Raises `Rejected` when nothing carries it out."""
        if change.verb is Verb.PATCH and change.target.kind == "Secret":
            return self._secrets
        if change.verb is Verb.PROPOSE and self.forge is not None:
            return Proposing(self.forge)
        means = self._means.get(change.verb)
        if means is None:
            raise Rejected(f"nothing is configured that could carry out {change.verb} of {change.target}")
        return means

    def _cluster(self, target: ResourceRef) -> WritableCluster:
        if target.cluster not in self._clusters:
            raise Forbidden(
                f"no writing identity is configured for cluster {target.cluster}: nothing can be changed"
            )
        return self._clusters[target.cluster]


def _operation(step: Step, action: Action) -> str:
    return operation_id(step.incident_id, step.attempt, step.step, action.hash)


def _count(action: Action, result: str) -> None:
    if result:
        REMEDIATIONS.labels(action=action.type, result=result).inc()


def _asked(order: CompensateInput, row: LedgerRow) -> VerifyInput:
    """What is to be well after the undo."""
    return VerifyInput(
        step=order.step,
        action=row.action,
        operation_id=order.operation_id,
        limits=order.limits,
        subject=order.subject,
    )


def _fate(change: Change, live: JSON | None) -> str:
    """What became of an object that no longer tells whether a change was made."""
    if live is None:
        return f"{change.target} is gone"
    if change.verb is not Verb.CREATE and live["metadata"].get("uid") != change.uid:
        return f"{change.target} was replaced by another of that name"
    return "the object was changed by somebody else"


def _watched(
    action: Action, target: ResourceRef, subject: ResourceRef, change: Change | None = None
) -> list[ResourceRef]:
    """What only contains is judged by its target; anything else together with what the incident is about. Of an
    autoscaler the pods show whether it helps, so the workload that it scales is watched with it."""
    if ACTIONS[action.type].spec.contains_only:
        return subjects(target)
    scaled = scaled_by(change) if change is not None else None
    return subjects(target, *([scaled] if scaled is not None else []), subject)
