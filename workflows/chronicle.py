"""The book of one incident: every step is written down in the database before the story goes on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from cortexops.contracts.incident import IncidentInput
from cortexops.contracts.records import (
    AskInput,
    CloseInput,
    DecideInput,
    Hold,
    Opened,
    OpenInput,
    Patch,
    ReassessInput,
    RecordInput,
    Records,
    SettleInput,
    VoteInput,
)
from cortexops.domain import narrative
from cortexops.domain.action import Candidate
from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote
from cortexops.domain.audit import PLATFORM, AuditEntry, AuditType
from cortexops.domain.case import Case, case_of, teaches
from cortexops.domain.correlation import key_of, risk_score, severity_of, title_of
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.incident import MOST_LINKED, Incident, IncidentState, Reason, check_transition
from cortexops.domain.message import Message, MessageKind
from cortexops.domain.policy import PolicyDecision, PolicyInput
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import window_of
from cortexops.domain.words import counted
from workflows import options, reasons, search_attributes
from workflows.signals import SignalLog


class Chronicle:
    """The incident, and its only writer. Entries noted between two moves are stored with the next."""

    def __init__(self, order: IncidentInput) -> None:
        self._order = order
        self._opened: Incident | None = None
        self._patches: frozenset[str] = frozenset()
        self._carried_out: tuple[Candidate, Diagnosis] | None = None
        self._diagnosis: Diagnosis | None = None
        self._candidate: Candidate | None = None
        self._request: ApprovalRequest | None = None
        self._pending: list[AuditEntry] = []
        self._messages: list[Message] = []
        self._settled: SettleInput | None = None
        self._before_it_ended: Incident | None = None  # the approval
        self._sequence = 0
        self._signals = SignalLog()
        self._linked: dict[str, ResourceRef] = {}

    @property
    def incident(self) -> Incident:
        if self._opened is None:
            raise ValueError("the incident is not opened yet")
        return self._opened

    async def open(self, signals: SignalLog) -> None:
        """Store the incident; from here on it has its id."""
        self._signals = signals
        first, _ = window_of(signals.all)
        now = workflow.now()
        draft = Incident(
            id="",
            key=key_of(self._order.resource),
            run_id=workflow.info().run_id,
            title=title_of(signals.all, self._order.resource),
            severity=severity_of(signals.all),
            risk_score=risk_score(signals.all, self._order.environment),
            resource=self._order.resource,
            state=IncidentState.DETECTED,
            reason=Reason.SIGNALS_GROUPED,
            detected_at=now,
            updated_at=now,
            signal_count=signals.received,
            drill=all(signal.drill for signal in signals.all),
            linked=self._all_linked,
        )
        detail = (
            f"{counted(signals.received, 'signal')} since {first:%Y-%m-%d %H:%M:%S} UTC: "
            + ", ".join(sorted({signal.name for signal in signals.all}))
            + narrative.linked_text(draft.linked)
        )
        entry = self._entry(AuditType.DETECTED, Reason.SIGNALS_GROUPED, detail, chain=PLATFORM)
        opened: Opened = await workflow.execute_local_activity_method(
            Records.open_incident,
            OpenInput(draft=draft, signals=signals.newest, entry=entry),
            **options.BOOKKEEPING,
        )
        self._opened, self._patches = opened.incident, frozenset(opened.patches)
        self._show(detail)

    def link(self, resources: Sequence[ResourceRef]) -> None:
        """These objects' trouble is part of the incident; it is stored with the next move."""
        for resource in resources:
            if len(self._linked) < MOST_LINKED:
                self._linked.setdefault(resource.key, resource)

    @property
    def _all_linked(self) -> tuple[ResourceRef, ...]:
        return tuple(resource for _, resource in sorted(self._linked.items()))

    def merged_into(self, key: str) -> None:
        """The incident is part of that one; it is stored with the end."""
        self._opened = self.incident.model_copy(update={"merged_into": key})

    async def hold(self, until: datetime, why: str) -> None:
        """Write down that a silence holds the incident."""
        detail = f"held until {until:%Y-%m-%d %H:%M:%S} UTC: {why}"
        self._opened = self.incident.model_copy(
            update={"held_until": until, "held_by": why, "updated_at": workflow.now()}
        )
        if self.incident.state is IncidentState.DETECTED:
            workflow.upsert_search_attributes(search_attributes.of(self.incident))
        elif self._passes_unseen(self.incident.state):
            self._publish_state()
        self.note(AuditType.STATE_CHANGED, Reason.HELD, detail)
        self._show(detail)
        await workflow.execute_local_activity_method(Records.record, self._flush(), **options.BOOKKEEPING)

    async def reassess(self) -> Hold:
        """Ask whether it is still held; if not, people hear now what was held back."""
        free = self.incident.model_copy(
            update={
                "held_until": None,
                "held_by": "",
                "linked": self._all_linked,
                "updated_at": workflow.now(),
            }
        )
        begun = free.state is not IncidentState.DETECTED
        text = f"The silence is over; the trouble is still there: {', '.join(self._alerts)}"
        text += narrative.linked_text(free.linked)
        order = ReassessInput(
            incident=free,
            alerts=self._alerts,
            entry=self._entry(AuditType.STATE_CHANGED, Reason.SILENCE_OVER, text),
            message=self._message(MessageKind.PROGRESS if begun else MessageKind.DETECTED, text),
        )
        hold: Hold = await workflow.execute_local_activity_method(
            Records.reassess, order, **options.BOOKKEEPING
        )
        if hold.until is None:
            self._opened = free
        return hold

    @property
    def _alerts(self) -> tuple[str, ...]:
        return tuple(sorted(self._signals.firing))

    def diagnosed(self, diagnosis: Diagnosis, candidates: Sequence[Candidate]) -> None:
        """Take the diagnosis into the book; people hear of it with the next move."""
        self._diagnosis = diagnosis
        cause = diagnosis.cause
        self._opened = self.incident.model_copy(
            update={
                "summary": diagnosis.summary,
                "confidence": cause.confidence if cause else None,
                "llm_used": diagnosis.llm_used,
            }
        )
        self._tell(MessageKind.DIAGNOSED, narrative.diagnosed_text(diagnosis, candidates))

    def note(self, type: AuditType, reason: Reason, detail: str = "", **data: Any) -> None:
        """An entry that is stored together with the next move."""
        self._pending.append(self._entry(type, reason, detail, **data))

    async def move(
        self,
        state: IncidentState,
        reason: Reason,
        detail: str = "",
        *,
        type: AuditType = AuditType.STATE_CHANGED,
        attempt: int | None = None,
        candidate: Candidate | None = None,
        tell: tuple[MessageKind, str] | None = None,
    ) -> None:
        """Go to another state, by the table of legal transitions, and write it down."""
        self._step_to(state, reason, detail, type=type, attempt=attempt, candidate=candidate)
        if tell is not None:
            self._tell(*tell)
        await self._store(Records.record, self._flush())

    async def decide(
        self, question: PolicyInput, reason: Reason, detail: str, *, candidate: Candidate
    ) -> PolicyDecision:
        """Go to the policy check and ask; both are one entry of the history."""
        self._step_to(
            IncidentState.POLICY_CHECK, reason, detail, type=AuditType.ANALYZED, candidate=candidate
        )
        return await self._asked(question)

    @property
    def asks_again(self) -> bool:
        """Whether policy is asked again when people have agreed, as in all runs since the patch."""
        return Patch.ASKED_AGAIN in self._patches

    async def confirm(self, question: PolicyInput, detail: str, *, candidate: Candidate) -> PolicyDecision:
        """Go to the change that people have agreed to, and ask again; both are one entry of the history."""
        self._step_to(
            IncidentState.REMEDIATING,
            Reason.APPROVED,
            detail,
            type=AuditType.STATE_CHANGED,
            attempt=question.attempt,
            candidate=candidate,
        )
        return await self._asked(question, confirming=True)

    async def _asked(self, question: PolicyInput, *, confirming: bool = False) -> PolicyDecision:
        order = DecideInput(
            record=self._flush(),
            question=question,
            alerts=self._alerts,
            idempotency_key=self.next_key("policy"),
            confirming=confirming,
        )
        decision: PolicyDecision = await self._store(Records.decide, order)
        return decision

    def carried_out(self, candidate: Candidate, diagnosis: Diagnosis) -> None:
        """This change was made: how the incident ends says something about it."""
        self._carried_out = candidate, diagnosis

    async def end(
        self,
        state: IncidentState,
        reason: Reason,
        detail: str,
        *,
        type: AuditType = AuditType.RESOLVED,
        **data: Any,
    ) -> None:
        """The final state: stored with the case for memory and the postmortem; people hear the outcome, if they
        heard of the beginning."""
        untold = self.incident.state is IncidentState.DETECTED and self.incident.held_until is not None
        kind = (
            type
            if type is not AuditType.RESOLVED or state is IncidentState.RESOLVED
            else AuditType.STATE_CHANGED
        )
        self._step_to(state, reason, detail, type=kind, **data)
        if not untold:
            self._tell(MessageKind.ENDED, detail)
        case = self._case() if Patch.CASE_WITH_THE_END in self._patches else None
        await self._store(Records.close_incident, CloseInput(**dict(self._flush()), case=case))

    async def ask(self, request: ApprovalRequest, candidate: Candidate) -> None:
        """Store the request for approval and send it out."""
        detail = f"{request.id}: {request.action}; quorum {request.quorum}; rule {request.rule}"
        self._request = request
        self._step_to(
            IncidentState.APPROVAL_PENDING,
            Reason.APPROVAL_REQUESTED,
            detail,
            type=AuditType.APPROVAL_REQUESTED,
            candidate=candidate,
        )
        flushed = self._flush()
        asking = self._message(MessageKind.APPROVAL, narrative.diff_text(request.diff), approval=request)
        order = AskInput(
            incident=flushed.incident,
            request=request,
            entries=flushed.entries,
            messages=flushed.messages,
            asking=asking,
        )
        await workflow.execute_local_activity_method(Records.ask_approval, order, **options.BOOKKEEPING)

    async def voted(self, vote: Vote) -> None:
        """Write a counted vote down."""
        entry = self._entry(
            AuditType.APPROVAL_VOTE,
            reasons.VOTE[vote.decision],
            f"{vote.approval_id}: {vote.decision}: {vote.reason}",
            actor=vote.person.id,
            via=vote.person.via,
            digest=vote.digest,
        )
        # A task that is lost gives its numbers out again, perhaps to somebody else's vote.
        key = f"{workflow.info().run_id}:{vote.approval_id}:{vote.person.id}:{vote.decision}"
        entry = entry.model_copy(update={"idempotency_key": key})
        await workflow.execute_local_activity_method(
            Records.record_vote, VoteInput(vote=vote, entry=entry), **options.BOOKKEEPING
        )

    @property
    def writes_votes_first(self) -> bool:
        """Whether nothing may follow on a vote that is not in the books, as in all runs since the patch."""
        return Patch.VOTES_BEFORE_THE_STEP in self._patches

    async def settle(self, request: ApprovalRequest, state: ApprovalState, votes: Sequence[Vote]) -> None:
        """How the approval ended is stored with the step that follows; the message that asked is edited."""
        text = narrative.votes_text(state, votes)
        entry = self._entry(AuditType.APPROVAL_DECIDED, reasons.APPROVAL[state], f"{request.id}: {text}")
        order = SettleInput(
            approval_id=request.id,
            state=state,
            entry=entry,
            message=self._message(MessageKind.APPROVAL_DECIDED, text, approval=request).model_copy(
                update={"votes": tuple(votes)}
            ),
        )
        if Patch.SETTLED_WITH_THE_STEP in self._patches:
            self._settled, self._before_it_ended = order, self.incident
        else:
            await workflow.execute_local_activity_method(
                Records.settle_approval, order, **options.BOOKKEEPING
            )
        self._request = None

    @property
    def untold_case(self) -> Case | None:
        """What a run that began before cases were stored with the end has yet to hand to memory."""
        return None if Patch.CASE_WITH_THE_END in self._patches else self._case()

    def _case(self) -> Case | None:
        """What the end says of the last change that was made; None when it says nothing."""
        incident = self.incident
        if self._carried_out is None or not teaches(incident.state, incident.reason):
            return None
        candidate, diagnosis = self._carried_out
        return case_of(incident, diagnosis, candidate.action, at=workflow.now())

    def after_undo(self, healthy: bool | None, detail: str) -> None:
        """People hear that the change is taken back, and how the object is now."""
        words = {True: "healthy again", False: "still unhealthy", None: "of unknown health"}[healthy]
        self._tell(MessageKind.PROGRESS, f"Undone: {detail}. The object is {words}.")

    def next_key(self, what: str) -> str:
        """An idempotency key of this run: the same on replay, never used twice."""
        self._sequence += 1
        return f"{workflow.info().run_id}:{self._sequence}:{what}"

    def _step_to(
        self,
        state: IncidentState,
        reason: Reason,
        detail: str,
        *,
        type: AuditType,
        attempt: int | None = None,
        candidate: Candidate | None = None,
        **data: Any,
    ) -> None:
        before = self.incident
        check_transition(before.state, state)
        self._candidate = candidate or self._candidate
        self._opened = before.model_copy(
            update={
                "state": state,
                "reason": reason,
                "updated_at": workflow.now(),
                "ended_at": workflow.now() if state.final else None,
                "attempts": before.attempts if attempt is None else attempt,
                "signal_count": self._signals.received,
                "linked": self._all_linked,
                "held_until": None,
                "held_by": "",
                "severity": severity_of(self._signals.all),
                "risk_score": max(before.risk_score, risk_score(self._signals.all, self._order.environment)),
            }
        )
        self._pending.append(
            self._entry(type, reason, detail, before=before.state.value, after=state.value, **data)
        )
        if before.state is IncidentState.DETECTED:
            workflow.upsert_search_attributes(search_attributes.of(self._opened))
        elif not self._passes_unseen(state):
            self._publish_state()
        self._show(detail)

    def _passes_unseen(self, state: IncidentState) -> bool:
        """Policy answers within the workflow's task, so nobody could find a run in that state."""
        return state is IncidentState.POLICY_CHECK and Patch.NO_STOP_AT_POLICY in self._patches

    def _publish_state(self) -> None:
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(self.incident.state)])

    def _entry(
        self,
        type: AuditType,
        reason: Reason,
        detail: str,
        *,
        actor: str = "cortexops",
        chain: str | None = None,
        **data: Any,
    ) -> AuditEntry:
        return AuditEntry(
            chain=chain or self.incident.id,
            type=type,
            reason=reason,
            detail=detail,
            actor=actor,
            at=workflow.now(),
            data=data,
            idempotency_key=self.next_key(type),
        )

    def _message(self, kind: MessageKind, text: str, approval: ApprovalRequest | None = None) -> Message:
        return narrative.message(
            self.incident, kind, text, key=self.next_key(kind), at=workflow.now(), approval=approval
        )

    def _tell(self, kind: MessageKind, text: str) -> None:
        self._messages.append(self._message(kind, text))

    def _flush(self) -> RecordInput:
        """What is to be stored now. A message says the state that the incident has now."""
        order = RecordInput(
            incident=self.incident,
            entries=tuple(self._pending),
            messages=tuple(m.model_copy(update={"state": self.incident.state}) for m in self._messages),
            settled=self._settled,
        )
        self._pending, self._messages, self._settled = [], [], None
        return order

    async def _store(self, activity: Any, order: RecordInput | DecideInput) -> Any:
        """Store a step. If how an approval ended is refused for good, the incident still waits for that end."""
        try:
            return await workflow.execute_local_activity_method(activity, order, **options.BOOKKEEPING)
        except (ActivityError, ApplicationError):
            if order.settled is not None:
                self._opened = self._before_it_ended
            raise

    def _show(self, note: str) -> None:
        workflow.set_current_details(
            narrative.details_markdown(self.incident, self._diagnosis, self._candidate, self._request, note)
        )
