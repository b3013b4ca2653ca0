"""Analyzers: one file a family of causes, found by discovery. Adding one touches no other file.

An analyzer is a pure function of the scene. It cites each fact that it uses in the book, never raises
for what an object lacks, and says nothing rather than something vague. Which of several hypotheses
leads is decided by `cortexops.domain.diagnosis.rank`, not here.
"""

from __future__ import annotations

from collections.abc import Callable

from cortexops.domain.diagnosis import Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import knowing_subjects
from cortexops.domain.scene import Scene
from cortexops.registry import Registry

Analyzer = Callable[[Scene, EvidenceBook], list[Hypothesis]]

ANALYZERS: Registry[Analyzer] = Registry("analyzer", "activities.analyzers")


def analyzer(kind: str) -> Callable[[Analyzer], Analyzer]:
    """Register a function as the analyzer of that kind."""

    def register(function: Analyzer) -> Analyzer:
        return ANALYZERS.register(kind, function)

    return register


def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    """What all analyzers say about the scene, unordered."""
    with knowing_subjects(scene):
        return [hypothesis for _, each in ANALYZERS for hypothesis in each(scene, book)]
