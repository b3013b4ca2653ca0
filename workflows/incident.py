"""IncidentWorkflow: one incident from its first signal to its end. Start reading at `_respond`."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from cortexops.contracts.incident import (
        INCIDENT_WORKFLOW,
        Absorption,
        IncidentInput,
        IncidentStatus,
        SignalBatch,
        VoteResult,
    )
    from cortexops.contracts.investigation import Investigated, Investigation
    from cortexops.contracts.remediation import (
        ApplyInput,
        ApplyOutcome,
        ApplyResult,
        CompensateInput,
        DryRunInput,
        DryRunResult,
        Remediation,
        Step,
        VerifyInput,
    )
    from cortexops.domain import narrative
    from cortexops.domain.action import Candidate, order
    from cortexops.domain.approval import ApprovalState, Vote
    from cortexops.domain.audit import AuditType
    from cortexops.domain.diagnosis import Diagnosis, Verdict
    from cortexops.domain.ending import APPROVAL_ENDS, Course, ending, none_left, quiet_ending, refusals
    from cortexops.domain.incident import Incident, IncidentState, Reason
    from cortexops.domain.message import MessageKind
    from cortexops.domain.policy import Effect, PolicyDecision, PolicyInput, withdrawn
    from cortexops.domain.verification import Phase, Verification
    from workflows import options, reasons
    from workflows.approval import ApprovalDesk
    from workflows.chronicle import Chronicle
    from workflows.inquiry import Inquiry
    from workflows.interruption import Interrupted, Interruption
    from workflows.question import policy_question
    from workflows.signals import SignalLog


@workflow.defn(name=INCIDENT_WORKFLOW)
class IncidentWorkflow:
    @workflow.init
    def __init__(self, order: IncidentInput) -> None:
        self._order = order
        self._limits = order.limits
        self._signals = SignalLog()
        self._desk = ApprovalDesk()
        self._book = Chronicle(order)
        self._interruption = Interruption()
        self._inquiry = Inquiry(order, self._book, self._signals, self._interruption)
        self._tried: set[str] = set()
        self._refused: list[str] = []
        self._undone = 0

    @workflow.run
    async def run(self, order: IncidentInput) -> Incident:
        await workflow.wait_condition(lambda: len(self._signals) > 0)
        await self._book.open(self._signals)
        try:
            if await self._freed(self._book.incident.held_until, self._book.incident.held_by):
                await self._respond()
        except Interrupted:
            await self._merge()
        except (ActivityError, ApplicationError) as error:  # the latter comes from local activities
            failed = reasons.STEP_FAILED.get(self._book.incident.state, Reason.INVESTIGATION_FAILED)
            await self._escalate(failed, f"a step kept failing: {error.cause or error}")
        await self._remember()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._book.incident

    async def _respond(self) -> None:
        """The story: find the cause, choose a remedy, get it allowed, do it, see if it helped, or undo it."""
        attempt = 0
        while attempt < self._limits.max_attempts:
            found = await self._inquiry.run()
            if await self._nothing_to_mend(found):
                return
            candidate = next(iter(order(list(found.candidates), frozenset(self._tried))), None)
            if candidate is None:
                return await self._out_of_remedies(found)
            decision = await self._ask_policy(candidate, found.diagnosis, attempt + 1)
            if decision.effect is Effect.DENY:
                return await self._denied(decision)
            if decision.held_until is not None:
                if await self._freed(decision.held_until, ", ".join(decision.reasons)):
                    continue
                return
            attempt += 1
            change = await self._dry_run(candidate, decision, attempt)
            if not change.ok:
                if change.reason in (Reason.DRY_RUN_FORBIDDEN, Reason.ESCALATION_CHOSEN):
                    return await self._escalate(change.reason, change.detail)
                self._tried.add(candidate.action.hash)
                self._refused.append(f"{candidate.action}: {change.detail}")
                continue
            if decision.effect is Effect.REQUIRE_APPROVAL and not await self._approved(
                candidate, found.diagnosis, change, decision, attempt
            ):
                return
            if await self._over(candidate):
                return
            applied = await self._apply(candidate, found.diagnosis, change, decision, attempt)
            if applied.outcome in (ApplyOutcome.CHANGED, ApplyOutcome.REFUSED):
                self._refused.append(f"{candidate.action}: {applied.detail}")
            if applied.outcome is ApplyOutcome.CHANGED:
                if await self._over(candidate):
                    return
                continue  # the object is not the one that was looked at: look again, ask again
            self._tried.add(candidate.action.hash)
            if applied.outcome in (ApplyOutcome.UNKNOWN, ApplyOutcome.HANDED_OVER):
                return await self._escalate(applied.reason, applied.detail)
            if applied.outcome is ApplyOutcome.REFUSED:
                continue
            self._book.carried_out(candidate, found.diagnosis)
            verification = await self._verify(candidate, change, applied, attempt)
            if verification.phase is Phase.SUCCESSFUL:
                return await self._mended(candidate, verification)
            if not await self._undo(applied, verification, attempt):
                return
        detail = f"{self._limits.max_attempts} attempts did not help{refusals(self._refused)}"
        await self._give_up(Reason.ATTEMPTS_EXHAUSTED, detail)

    async def _freed(self, until: datetime | None, why: str) -> bool:
        """Wait while a silence holds the incident. False when it ended meanwhile."""
        while until is not None:
            self._interruption.check()
            await self._book.hold(until, why)
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._signals.all_resolved or self._interruption.wakes,
                    timeout=max(timedelta(seconds=1), until - workflow.now()),
                )
            self._interruption.check()
            if self._signals.all_resolved:
                await self._book.end(*quiet_ending(self._book.incident.state))
                return False
            hold = await self._book.reassess()
            until, why = hold.until, hold.by
        return True

    async def _merge(self) -> None:
        """The trouble is part of another incident, which goes on in its place."""
        absorption = self._interruption.absorption
        assert absorption is not None
        detail = narrative.merged_text(absorption.into_id or absorption.into_key, absorption.reason)
        undone = self._book.incident.state is IncidentState.ROLLING_BACK
        state = IncidentState.ROLLED_BACK if undone else IncidentState.MERGED
        if self._book.incident.state is IncidentState.REMEDIATING:  # the step that changed nothing is over
            await self._book.move(IncidentState.INVESTIGATING, Reason.MERGED_INTO, "nothing was changed")
        self._book.merged_into(absorption.into_key)
        data = absorption.model_dump(mode="json", include={"into_key", "into_id", "reason"})
        await self._book.end(state, Reason.MERGED_INTO, detail, link=data)

    async def _nothing_to_mend(self, investigated: Investigated) -> bool:
        """Whether the incident ends here."""
        course = Course(
            all_resolved=self._signals.all_resolved,
            only_object_states=self._signals.only_object_states,
            rolled_back=self._undone > 0,
            flapping=self._book.incident.flapping or self._signals.flapping(workflow.now()),
        )
        found = ending(investigated.diagnosis, course)
        if found is not None and found.state is IncidentState.ESCALATED:
            await self._escalate(found.reason, narrative.with_steps(found.detail, investigated.by_hand))
        elif found is not None:
            await self._book.end(*found)
        return found is not None

    async def _over(self, candidate: Candidate) -> bool:
        """Whether the trouble ended by itself after the change was decided on and before it was made. Then it
        is not made, whoever approved it, and the incident ends here."""
        if not self._signals.all_resolved or not workflow.patched("not-once-over"):
            return False
        detail = f"{candidate.action} was not made: all signals have stopped firing"
        if self._book.incident.state is IncidentState.REMEDIATING:  # and whoever was to make it said why not
            await self._book.move(IncidentState.INVESTIGATING, Reason.SIGNALS_RESOLVED, "nothing was changed")
        else:
            self._book.note(AuditType.ACTION_REFUSED, Reason.SIGNALS_RESOLVED, detail)
        await self._book.end(IncidentState.RESOLVED, Reason.SIGNALS_RESOLVED, detail)
        return True

    async def _ask_policy(self, candidate: Candidate, diagnosis: Diagnosis, attempt: int) -> PolicyDecision:
        self._interruption.check()
        reason = Reason.CAUSE_FOUND if diagnosis.verdict is Verdict.ROOT_CAUSE else Reason.CAUSE_HYPOTHESIS
        question = self._question(candidate, diagnosis, attempt)
        return await self._book.decide(question, reason, diagnosis.summary, candidate=candidate)

    async def _denied(self, decision: PolicyDecision) -> None:
        reason = Reason.POLICY_UNAVAILABLE if decision.rule == "fail_closed" else Reason.POLICY_DENIED
        await self._book.end(IncidentState.DENIED, reason, f"{decision.rule}: {', '.join(decision.reasons)}")

    async def _dry_run(self, candidate: Candidate, decision: PolicyDecision, attempt: int) -> DryRunResult:
        self._interruption.check()
        reason = Reason.POLICY_ALLOWED if decision.effect is Effect.ALLOW else Reason.POLICY_REQUIRES_APPROVAL
        await self._book.move(
            IncidentState.DRY_RUNNING,
            reason,
            f"{decision.rule}: {', '.join(decision.reasons)}",
            candidate=candidate,
        )
        result: DryRunResult = await workflow.execute_activity_method(
            Remediation.dry_run,
            DryRunInput(step=self._step(attempt), action=candidate.action, policy_revision=decision.revision),
            **options.DRY_RUN,
        )
        self._book.note(AuditType.DRY_RUN, result.reason, result.detail)
        return result

    async def _approved(
        self,
        candidate: Candidate,
        diagnosis: Diagnosis,
        change: DryRunResult,
        decision: PolicyDecision,
        attempt: int,
    ) -> bool:
        """Ask people, and wait for the quorum, a no, the end of the time, or the end of the trouble."""
        assert change.preview is not None
        wait = min(decision.expires_seconds, self._limits.approval_seconds)
        request = narrative.approval_request(
            self._book.incident,
            diagnosis=diagnosis,
            candidate=candidate,
            preview=change.preview,
            digest=change.digest,
            decision=decision,
            attempt=attempt,
            now=workflow.now(),
            expires_at=workflow.now() + timedelta(seconds=wait),
        )
        self._desk.ask(request, written_first=self._book.writes_votes_first)
        await self._book.ask(request, candidate)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: (
                    not self._desk.writing
                    and (self._desk.state(workflow.now()) is not ApprovalState.PENDING or self._needless)
                ),
                timeout=timedelta(seconds=wait),
            )
        if self._desk.writing:  # a vote that came in time counts, however long the database is away
            await workflow.wait_condition(lambda: not self._desk.writing)
        state = self._desk.state(workflow.now())
        if state is ApprovalState.PENDING:
            state = ApprovalState.VOID if self._needless else ApprovalState.EXPIRED
        self._desk.close()  # from here on nobody is told that a vote counted
        await self._book.settle(request, state, self._desk.votes)
        self._interruption.check()
        if state is ApprovalState.APPROVED:
            return True
        final, reason = APPROVAL_ENDS[state]
        text = f"{request.id}: {narrative.votes_text(state, self._desk.votes)}"
        type = AuditType.ESCALATED if final is IncidentState.ESCALATED else AuditType.RESOLVED
        await self._book.end(final, reason, text, type=type)
        return False

    @property
    def _needless(self) -> bool:
        """Whether there is nothing left to decide on here."""
        return self._signals.all_resolved or self._interruption.absorbed

    async def _begin(
        self, candidate: Candidate, diagnosis: Diagnosis, decision: PolicyDecision, attempt: int
    ) -> str | None:
        """Why what people agreed to is not allowed any more: while they decide, a freeze may begin."""
        text = f"attempt {attempt} begins"
        if decision.effect is Effect.ALLOW or not self._book.asks_again:
            reason = Reason.POLICY_ALLOWED if decision.effect is Effect.ALLOW else Reason.APPROVED
            await self._book.move(
                IncidentState.REMEDIATING, reason, text, attempt=attempt, candidate=candidate
            )
            return None
        question = self._question(candidate, diagnosis, attempt)
        return withdrawn(decision, await self._book.confirm(question, text, candidate=candidate))

    def _question(self, candidate: Candidate, diagnosis: Diagnosis, attempt: int) -> PolicyInput:
        return policy_question(self._book.incident, self._order.environment, candidate, diagnosis, attempt)

    async def _apply(
        self,
        candidate: Candidate,
        diagnosis: Diagnosis,
        change: DryRunResult,
        decision: PolicyDecision,
        attempt: int,
    ) -> ApplyResult:
        assert change.prepared is not None
        self._interruption.check()
        why = await self._begin(candidate, diagnosis, decision, attempt)
        self._interruption.check()
        if why is not None:
            self._book.note(AuditType.ACTION_REFUSED, Reason.POLICY_CHANGED, why)
            return ApplyResult(outcome=ApplyOutcome.CHANGED, reason=Reason.POLICY_CHANGED, detail=why)
        result: ApplyResult = await workflow.execute_activity_method(
            Remediation.apply,
            ApplyInput(
                step=self._step(attempt),
                prepared=change.prepared,
                digest=change.digest,
                policy_revision=decision.revision,
            ),
            **options.APPLY,
        )
        return result

    async def _verify(
        self, candidate: Candidate, change: DryRunResult, applied: ApplyResult, attempt: int
    ) -> Verification:
        assert change.prepared is not None
        await self._book.move(
            IncidentState.VERIFYING,
            Reason.APPLIED,
            f"watching for up to {self._limits.verification.window:g} s whether it helps",
            candidate=candidate,
            tell=(MessageKind.PROGRESS, f"Applied: {candidate.action}. Watching whether it helps."),
        )
        verification: Verification = await workflow.execute_activity_method(
            Remediation.verify,
            VerifyInput(
                step=self._step(attempt),
                action=candidate.action,
                operation_id=applied.operation_id,
                limits=self._limits.verification,
                expected_replicas=change.prepared.expected_replicas,
                subject=self._book.incident.resource,
            ),
            **options.verification(self._limits.verification.window),
        )
        return verification

    async def _mended(self, candidate: Candidate, verification: Verification) -> None:
        final = IncidentState.CONTAINED if candidate.contains_only else IncidentState.RESOLVED
        await self._book.end(final, Reason.VERIFIED, f"{candidate.action}: {verification.detail}")

    async def _remember(self) -> None:
        """The case of a run that began before cases were stored with the end, by an activity; what did not help
        only since the patch."""
        case = self._book.untold_case
        if case is None:
            return
        helped = self._book.incident.reason is Reason.VERIFIED
        if helped or workflow.patched("remember-failures"):
            with suppress(ActivityError):
                await workflow.execute_activity_method(Investigation.remember, case, **options.REMEMBER)

    async def _undo(self, applied: ApplyResult, verification: Verification, attempt: int) -> bool:
        """Take the change back. True when it is undone and another remedy may be tried."""
        await self._book.move(
            IncidentState.ROLLING_BACK,
            reasons.UNSUCCESSFUL[verification.phase],
            verification.detail,
            tell=(MessageKind.PROGRESS, f"It did not help ({verification.detail}). Undoing the change."),
        )
        undone = await workflow.execute_activity_method(
            Remediation.compensate,
            CompensateInput(
                step=self._step(attempt),
                operation_id=applied.operation_id,
                limits=self._limits.verification,
                subject=self._book.incident.resource,
            ),
            **options.verification(self._limits.verification.window),
        )
        if not undone.done:
            await self._escalate(undone.reason, "\n".join((undone.detail, *undone.commands)).strip())
            return False
        self._undone += 1
        self._book.after_undo(undone.healthy, undone.detail)
        return True

    async def _out_of_remedies(self, found: Investigated) -> None:
        detail = none_left(found.diagnosis, found.candidates, self._undone, self._refused)
        await self._give_up(Reason.NO_FEASIBLE_ACTION, narrative.with_steps(detail, found.by_hand))

    async def _give_up(self, reason: Reason, detail: str) -> None:
        """Nothing is left to try: say so. When everything was undone, the state says that as well."""
        states = (IncidentState.ROLLING_BACK, IncidentState.INVESTIGATING)
        if self._undone and self._book.incident.state in states:
            await self._book.end(IncidentState.ROLLED_BACK, reason, detail)
        else:
            await self._escalate(reason, detail)

    async def _escalate(self, reason: Reason, detail: str) -> None:
        await self._book.end(IncidentState.ESCALATED, reason, detail, type=AuditType.ESCALATED)

    def _step(self, attempt: int) -> Step:
        return Step(incident_id=self._book.incident.id, attempt=attempt)

    @workflow.signal
    def add_signals(self, batch: SignalBatch) -> None:
        """New evidence, or the news that something has stopped firing."""
        known = self._signals.firing
        self._signals.add(batch.signals)
        self._book.link(batch.linked)
        if not self._signals.firing <= known:  # a silence may not cover what is new
            self._interruption.look_again()

    @workflow.signal
    def absorb(self, absorption: Absorption) -> None:
        """This incident is part of another. What has been begun is finished; nothing more is begun."""
        if absorption.into_key != workflow.info().workflow_id:
            self._interruption.absorb(absorption)

    @workflow.signal
    def look_again(self) -> None:
        """A silence was lifted."""
        self._interruption.look_again()

    @workflow.update
    async def vote(self, vote: Vote) -> VoteResult:
        """Count a verified person's vote and write it down before the answer is given."""
        counted = vote.model_copy(update={"at": workflow.now()})
        with self._desk.counting(counted) as request:
            state = self._desk.state(workflow.now())
            approvals = self._desk.approvals
            await self._book.voted(counted)
        return VoteResult(approval_id=request.id, state=state, approvals=approvals, quorum=request.quorum)

    @vote.validator
    def _check_vote(self, vote: Vote) -> None:
        refusal = self._desk.refusal(vote, workflow.now())
        if refusal is not None:
            raise ApplicationError(
                f"the vote does not count: {refusal}", type=refusal.value, non_retryable=True
            )

    @workflow.query
    def status(self) -> IncidentStatus:
        incident = self._book.incident
        return IncidentStatus(
            incident_id=incident.id,
            state=incident.state,
            reason=incident.reason,
            since=incident.updated_at,
            attempt=incident.attempts,
            signals=len(self._signals),
            approval=self._desk.request,
            votes=tuple(self._desk.votes),
        )
