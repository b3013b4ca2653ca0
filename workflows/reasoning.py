"""Reasoning with a model inside a workflow: each call an activity of its own, nothing of it ever fatal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from cortexops.contracts.investigation import Investigated
from cortexops.contracts.reasoning import KeepInput, MoreInput, Reasoning, ThinkInput
from cortexops.domain.reasoning import Ask, Gather, ModelLimits, Thinking, Thought, begin, worth_asking
from cortexops.domain.reasoning_answers import Gathered
from cortexops.domain.reasoning_drive import drive
from cortexops.domain.reasoning_material import brief_of
from cortexops.domain.reasoning_result import conclude_with_model
from cortexops.domain.reasoning_use import Outcome, Spent
from cortexops.domain.signal import Signal
from workflows import options


async def reason(
    incident_id: str,
    found: Investigated,
    signals: Sequence[Signal],
    limits: ModelLimits,
    before: Spent,
) -> Investigated:
    """The investigation with a model's part, within the limits; `before` is what the incident used already.

    Returns what was found when there is nothing to ask and nothing was spent. Candidates are always those
    that code computed for the hypothesis that leads.
    """
    asking = worth_asking(found.diagnosis)
    if not asking and not before.calls:
        return found
    began = workflow.now()
    state = begin(brief_of(found.diagnosis, found.material, signals), limits, before)

    async def think(state: Thinking, ask: Ask, left: float) -> Thought:
        question = ThinkInput(incident_id=incident_id, state=state, ask=ask, seconds_left=left)
        try:
            thought: Thought = await workflow.execute_activity_method(
                Reasoning.think, question, **options.thinking(left)
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return Thought(outcome=Outcome.TIMEOUT, detail="no worker carried the call out in time")
        return thought

    async def more(state: Thinking, step: Gather, left: float) -> Gathered | None:
        question = MoreInput(
            incident_id=incident_id,
            target=state.brief.target,
            requests=step.requests,
            objects=state.brief.objects,
            used=tuple(sorted(state.brief.known)),
            seconds=max(1.0, min(options.READING_SECONDS, left)),
        )
        try:
            gathered: Gathered = await workflow.execute_activity_method(
                Reasoning.more_evidence, question, **options.reading(question.seconds)
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return None
        return gathered

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)

    outcome = Outcome.ANSWERED
    if asking:
        state, outcome = await drive(state, elapsed=lambda: _since(began), think=think, more=more, wait=wait)
    diagnosis = conclude_with_model(found.diagnosis, state, outcome)
    leads = state.lead == "h1"
    candidates = found.candidates if leads else found.alternatives.get(state.lead, ())
    try:
        await workflow.execute_activity_method(
            Reasoning.keep_diagnosis,
            KeepInput(incident_id=incident_id, diagnosis=diagnosis),
            **options.KEEP_DIAGNOSIS,
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        workflow.logger.warning("the model's part of the diagnosis was not stored: %s", error.cause)
    changes = {"diagnosis": diagnosis, "candidates": candidates, "by_hand": found.by_hand if leads else ()}
    return found.model_copy(update=changes)


def _since(began: datetime) -> float:
    return (workflow.now() - began).total_seconds()
