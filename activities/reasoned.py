"""Reasoning with a model in one process, without a workflow: for one-shot investigations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from activities.further import read_further
from activities.gathering import Reads
from activities.reasoning import Reasoner, count_cut
from cortexops.domain.action import Candidate
from cortexops.domain.errors import CortexError
from cortexops.domain.evidence import Evidence
from cortexops.domain.reasoning import Ask, Gather, ModelLimits, Thinking, Thought, begin, worth_asking
from cortexops.domain.reasoning_answers import Gathered
from cortexops.domain.reasoning_drive import drive
from cortexops.domain.reasoning_material import brief_of
from cortexops.domain.reasoning_result import conclude_with_model
from cortexops.domain.report import Result

_READING_SECONDS = 30.0


class Assistant(NamedTuple):
    """A model and the limits within which one investigation may use it."""

    reasoner: Reasoner
    limits: ModelLimits


class Material(NamedTuple):
    """What an investigation keeps for a model: see `Investigated`."""

    further: tuple[Evidence, ...] = ()
    alternatives: Mapping[str, Sequence[Candidate]] = {}


async def with_model(assistant: Assistant, reads: Reads, result: Result, material: Material) -> Result:
    """The result with the model's part; as it was when there is nothing to ask. Never raises for a model."""
    if not worth_asking(result.diagnosis):
        return result
    began = time.monotonic()

    async def think(state: Thinking, ask: Ask, left: float) -> Thought:
        return await assistant.reasoner.think(state, ask, left)

    async def more(state: Thinking, step: Gather, left: float) -> Gathered | None:
        try:
            return await read_further(
                reads,
                state.brief.target,
                step.requests,
                state.brief.objects,
                taken=tuple(state.brief.known),
                seconds=max(1.0, min(_READING_SECONDS, left)),
            )
        except CortexError:  # what was read could not be masked
            return None

    state, outcome = await drive(
        begin(brief_of(result.diagnosis, material.further, result.signals), assistant.limits),
        elapsed=lambda: time.monotonic() - began,
        think=think,
        more=more,
        wait=asyncio.sleep,
    )
    diagnosis = conclude_with_model(result.diagnosis, state, outcome)
    if diagnosis.model is not None:
        count_cut(diagnosis.model)
    candidates = result.candidates
    if state.lead != "h1":
        candidates = tuple(material.alternatives.get(state.lead, ()))
    return result._replace(diagnosis=diagnosis, candidates=candidates)
