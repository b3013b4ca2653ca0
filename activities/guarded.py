"""Remediation that people can stop at any moment: the guards stand at the cluster's writing calls themselves.

No change passes unseen, whichever action or undo sends it: the client of the writing identity looks at the
kill switch immediately before each call that would store something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol, cast

from temporalio import activity

from activities.errors import for_temporal
from activities.guards import GuardStore, admitted, outdated, over, stopped, utc_now
from activities.remediation import Books, RemediationActivities
from cortexops.contracts.remediation import (
    ApplyInput,
    ApplyOutcome,
    ApplyResult,
    CompensateInput,
    CompensateResult,
    Step,
)
from cortexops.domain.action import Action
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.errors import Rejected, TemporaryError
from cortexops.domain.ids import operation_id
from cortexops.domain.incident import Reason
from cortexops.domain.limits import RemediationLimits
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.metrics import REMEDIATIONS
from cortexops.ports.cluster import PatchType, WritableCluster
from cortexops.ports.switches import SwitchStore

_acting: ContextVar[Action | None] = ContextVar("acting", default=None)
"""The action on whose behalf calls are made now: stops may name one."""


class GuardedBooks(Books, GuardStore, Protocol):
    """What guarded remediation needs of the store."""


class GuardedCluster:
    """A `WritableCluster` that sends nothing that is stopped. Reading and dry runs pass.

    A writing call raises `Rejected` with who stopped it and why; stops that cannot be read stop everything.
    In shadow mode no writing call passes.
    """

    def __init__(self, cluster: WritableCluster, stops: SwitchStore, *, shadow: bool = False) -> None:
        self._cluster = cluster
        self._stops = stops
        self._shadow = shadow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def create(
        self,
        kind: str,
        namespace: str,
        body: JSON,
        *,
        dry_run: bool = False,
        subresource: str = "",
        name: str = "",
    ) -> JSON:
        await self._pass(kind, namespace, name or str(body.get("metadata", {}).get("name", "")), dry_run)
        return await self._cluster.create(
            kind, namespace, body, dry_run=dry_run, subresource=subresource, name=name
        )

    async def patch(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: JSON | Sequence[JSON],
        *,
        patch_type: PatchType = PatchType.JSON,
        dry_run: bool = False,
        subresource: str = "",
    ) -> JSON:
        await self._pass(kind, namespace, name, dry_run)
        return await self._cluster.patch(
            kind, namespace, name, body, patch_type=patch_type, dry_run=dry_run, subresource=subresource
        )

    async def replace(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: JSON,
        *,
        dry_run: bool = False,
        subresource: str = "",
    ) -> JSON:
        await self._pass(kind, namespace, name, dry_run)
        return await self._cluster.replace(
            kind, namespace, name, body, dry_run=dry_run, subresource=subresource
        )

    async def delete(
        self,
        kind: str,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> None:
        await self._pass(kind, namespace, name, dry_run)
        await self._cluster.delete(
            kind, namespace, name, uid=uid, grace_seconds=grace_seconds, dry_run=dry_run
        )

    async def permit(self, target: ResourceRef) -> None:
        """For writes elsewhere on the object's behalf, such as a branch in Git. Raises `Rejected`."""
        await self._pass(target.kind, target.namespace, target.name, False)

    async def _pass(self, kind: str, namespace: str, name: str, dry_run: bool) -> None:
        if dry_run:
            return
        if self._shadow:
            raise Rejected("shadow mode: nothing is changed")
        target = ResourceRef(cluster=self._cluster.name, kind=kind, namespace=namespace, name=name)
        why = await stopped(self._stops, Action(type=_type(), target=target))
        if why is not None:
            raise Rejected(why)


def _type() -> str:
    acting = _acting.get()
    return acting.type if acting is not None else ""


def guarded(
    clusters: Mapping[str, WritableCluster], stops: SwitchStore, *, shadow: bool = False
) -> dict[str, WritableCluster]:
    """The clients, each behind the kill switch."""
    return {
        name: cast(WritableCluster, GuardedCluster(cluster, stops, shadow=shadow))
        for name, cluster in clusters.items()
    }


class GuardedRemediation(RemediationActivities):
    """Remediation behind the kill switch and the limits."""

    def __init__(
        self,
        clusters: Mapping[str, WritableCluster],
        books: GuardedBooks,
        limits: RemediationLimits | None = None,
        clock: Callable[[], datetime] = utc_now,
        *,
        shadow: bool = False,
    ) -> None:
        super().__init__(guarded(clusters, books, shadow=shadow), books)
        self._guard_books = books
        self._remediation_limits = limits or RemediationLimits()
        self._clock = clock

    @activity.defn
    async def apply(self, order: ApplyInput) -> ApplyResult:
        token = _acting.set(order.prepared.action)
        try:
            refused = await self._not_its_turn(order)
            return refused if refused is not None else await super().apply(order)
        finally:
            _acting.reset(token)

    @activity.defn
    async def compensate(self, order: CompensateInput) -> CompensateResult:
        with for_temporal():
            row = await self._guard_books.row(order.operation_id)
        token = _acting.set(row.action if row is not None else None)
        try:
            return await super().compensate(order)
        finally:
            _acting.reset(token)

    async def _not_its_turn(self, order: ApplyInput) -> ApplyResult | None:
        """The refusal when the trouble is over, a limit is reached or the policy is another; the activity is tried
        again while it is not its turn. What has been begun is finished: only a change without a ledger row is
        held up."""
        step, action = order.step, order.prepared.action
        operation = operation_id(step.incident_id, step.attempt, step.step, action.hash)
        with for_temporal():
            if await self._guard_books.row(operation) is not None:
                return None
            reason, outcome = Reason.SIGNALS_RESOLVED, ApplyOutcome.CHANGED
            why = await over(self._guard_books, step.incident_id)
            if why is None:
                reason = Reason.POLICY_CHANGED
                why = await outdated(self._guard_books, order.policy_revision)
            if why is None:
                reason, outcome = Reason.LIMITED, ApplyOutcome.REFUSED
                try:
                    why = await admitted(
                        self._guard_books, step.incident_id, action, self._remediation_limits
                    )
                except TemporaryError as waits:  # said once, however often it is tried
                    await self._note(step, operation, AuditType.STATE_CHANGED, reason, str(waits), "waits")
                    raise
            if why is None:
                return None
            key = "limited" if reason is Reason.LIMITED else reason.value
            await self._note(step, operation, AuditType.ACTION_REFUSED, reason, why, key)
        REMEDIATIONS.labels(action=action.type, result=outcome).inc()
        return ApplyResult(outcome=outcome, reason=reason, detail=why, operation_id=operation)

    async def _note(
        self, step: Step, operation: str, type_: AuditType, reason: Reason, detail: str, key: str
    ) -> None:
        entry = AuditEntry(
            chain=step.incident_id,
            type=type_,
            reason=reason,
            detail=detail,
            at=self._clock(),
            data={"operation": operation, "attempt": step.attempt},
            idempotency_key=f"{operation}:{key}",
        )
        await self._guard_books.append([entry])
