"""What is asked of models for an investigation, one activity a call: a crash repeats none that succeeded."""

from __future__ import annotations

from abc import ABC, abstractmethod

from temporalio import activity

from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.reasoning import Ask, Thinking, Thought
from cortexops.domain.reasoning_answers import EvidenceRequest, Gathered
from cortexops.domain.resource import Frozen, ResourceRef


class ThinkInput(Frozen):
    """One call: the state so far holds the stage, the round and what is left of the budget."""

    incident_id: str
    state: Thinking
    ask: Ask
    seconds_left: float


class MoreInput(Frozen):
    """What a model wants to see besides. `objects` is the list that it was shown."""

    incident_id: str
    target: ResourceRef
    requests: tuple[EvidenceRequest, ...]
    objects: tuple[ResourceRef, ...]
    used: tuple[str, ...] = ()
    """Ids of evidence that are taken."""
    seconds: float = 30


class KeepInput(Frozen):
    incident_id: str
    diagnosis: Diagnosis


class Reasoning(ABC):
    @activity.defn
    @abstractmethod
    async def think(self, question: ThinkInput) -> Thought:
        """One call of a model. What the endpoint does wrong is an outcome, never an error."""

    @activity.defn
    @abstractmethod
    async def more_evidence(self, question: MoreInput) -> Gathered:
        """Read what a model asked for, from the fixed list, about objects it was shown."""

    @activity.defn
    @abstractmethod
    async def keep_diagnosis(self, order: KeepInput) -> None:
        """Store the diagnosis again, with what the model contributed and what it cost."""
