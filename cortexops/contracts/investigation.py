"""What the investigating identity does: it reads clusters and cannot write them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic import Field
from temporalio import activity

from cortexops.domain.action import Candidate
from cortexops.domain.case import Case
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.evidence import Evidence
from cortexops.domain.manual_steps import ManualStep
from cortexops.domain.resource import Frozen, ResourceRef
from cortexops.domain.signal import Signal


class InvestigateInput(Frozen):
    incident_id: str
    target: ResourceRef
    environment: str
    signals: tuple[Signal, ...]
    budget_seconds: float = 180
    model: bool = False
    """Whether a model is going to look at what was found."""


class Investigated(Frozen):
    """The diagnosis and what could be done about it, infeasible candidates included with their reason."""

    diagnosis: Diagnosis
    candidates: tuple[Candidate, ...] = ()
    api_requests: int = 0
    seconds: float = 0.0
    material: tuple[Evidence, ...] = ()
    """For a model: evidence that no rule cited, with ids after those of the diagnosis."""
    alternatives: dict[str, tuple[Candidate, ...]] = Field(default_factory=dict)
    """For a model: what could be done if another hypothesis (`h2` …) led."""
    by_hand: tuple[ManualStep, ...] = ()
    """What a person can do where no action mends the leading cause."""


class Investigation(ABC):
    @activity.defn
    @abstractmethod
    async def investigate(self, question: InvestigateInput) -> Investigated:
        """Topology, evidence, hypotheses, diagnosis, candidates. Stores the diagnosis and nothing else."""

    @activity.defn
    @abstractmethod
    async def remember(self, case: Case) -> bool:
        """Keep a verified case; False when memory could not be reached (counted, never fatal)."""
