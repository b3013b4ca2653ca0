"""The investigations of one incident: what code finds, and what a model may add where one is configured."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import ActivityError

from cortexops.contracts.incident import IncidentInput
from cortexops.contracts.investigation import Investigated, InvestigateInput, Investigation
from cortexops.domain.audit import AuditType
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.reasoning import ModelLimits
from cortexops.domain.reasoning_use import Spent
from cortexops.domain.reasoning_words import cost_line, report_of
from workflows import options
from workflows.chronicle import Chronicle
from workflows.interruption import Interruption
from workflows.reasoning import reason
from workflows.signals import SignalLog


class Inquiry:
    """Remembers what models have cost, so that the incident's budget holds over all its investigations."""

    def __init__(
        self, order: IncidentInput, book: Chronicle, signals: SignalLog, interruption: Interruption
    ) -> None:
        self._order = order
        self._book = book
        self._signals = signals
        self._interruption = interruption
        self._spent = Spent()

    async def run(self) -> Investigated:
        """Find the cause. Raises `Interrupted` when the incident turns out to be part of another meanwhile."""
        self._interruption.check()
        await self._book.move(IncidentState.INVESTIGATING, Reason.INVESTIGATION_STARTED)
        incident = self._book.incident
        limits = self._order.limits
        finding = workflow.start_activity_method(
            Investigation.investigate,
            InvestigateInput(
                incident_id=incident.id,
                target=incident.resource,
                environment=self._order.environment,
                signals=self._signals.newest,
                budget_seconds=limits.investigation_seconds,
                model=limits.model is not None,
            ),
            **options.investigation(limits.investigation_seconds),
        )
        await workflow.wait_condition(lambda: finding.done() or self._interruption.absorbed)
        if not finding.done() and finding.cancel():
            with suppress(ActivityError):
                await finding
        self._interruption.check()
        found: Investigated = await finding
        if limits.model is not None:
            found = await self._with_model(found, limits.model)
        self._book.diagnosed(found.diagnosis, found.candidates)
        return found

    async def _with_model(self, found: Investigated, limits: ModelLimits) -> Investigated:
        reasoning = asyncio.create_task(
            reason(self._book.incident.id, found, self._signals.newest, limits, self._spent)
        )
        await workflow.wait_condition(lambda: reasoning.done() or self._interruption.absorbed)
        if not reasoning.done():
            reasoning.cancel()
            with suppress(ActivityError, asyncio.CancelledError):
                await reasoning
        self._interruption.check()
        reasoned = await reasoning
        use = reasoned.diagnosis.model
        if use is not None:
            self._spent = use.spent
            self._book.note(
                AuditType.MODEL_ASKED,
                Reason.MODEL_ASKED,
                cost_line(report_of(use)),
                outcome=use.outcome,
                used=reasoned.diagnosis.llm_used,
                cut_claims=use.cut_claims,
                refused_requests=use.refused_requests,
                **use.spent.model_dump(),
            )
        return reasoned
