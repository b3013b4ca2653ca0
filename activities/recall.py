"""What memory and people's words add to a diagnosis: asked within bounds, and done without when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from cortexops.domain.case import Recalled, fingerprint_of, question_text
from cortexops.domain.correlation import title_of
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import CortexError
from cortexops.domain.experience import adjustments, applied
from cortexops.domain.feedback import Feedback, wrong_by_incident
from cortexops.domain.outgoing import Destination, outgoing
from cortexops.domain.precedent import Fingerprint, Precedent
from cortexops.domain.recall import CANDIDATES, HALF_LIFE_DAYS, heaviest, precedent
from cortexops.domain.scene import Scene
from cortexops.domain.signal import Signal
from cortexops.metrics import MEMORY_FAILURES, REDACTIONS
from cortexops.ports.feedback import FeedbackStore
from cortexops.ports.memory import Memory

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 5.0
_MOST_SIMILAR = 3


def clean(text: str) -> str:
    """The text as memory may hold it. Raises `Withheld`: then nothing is stored or asked."""
    return outgoing(text, Destination.EMBEDDING, count=_count)


def _count(kind: str, number: int) -> None:
    REDACTIONS.labels(kind=kind).inc(number)


async def with_experience(
    diagnosis: Diagnosis,
    scene: Scene,
    *,
    now: datetime,
    memory: Memory | None = None,
    feedback: FeedbackStore | None = None,
    half_life_days: float = HALF_LIFE_DAYS,
) -> Diagnosis:
    """The diagnosis with precedents cited and people's words applied. Never raises for either being away."""
    diagnosis = diagnosis.model_copy(update={"fingerprint": fingerprint_of(scene)})
    words = await _words(feedback, diagnosis.target.cluster) if feedback is not None else []
    moves = adjustments(words)
    leading = applied(diagnosis, moves)
    if memory is None or leading.cause is None:
        return leading
    found = await _recalled(memory, leading, scene.signals)
    precedents = _weighed(found, leading, words, now, half_life_days)
    return applied(diagnosis, moves, precedents)


def _weighed(
    found: Sequence[Recalled],
    diagnosis: Diagnosis,
    words: Sequence[Feedback],
    now: datetime,
    half_life_days: float,
) -> tuple[Precedent, ...]:
    cause = diagnosis.cause
    assert cause is not None
    wrong = wrong_by_incident(words)
    weighed = [
        precedent(
            each,
            target=diagnosis.target,
            category=cause.category.value,
            present=diagnosis.fingerprint or Fingerprint(),
            wrong=wrong,
            now=now,
            half_life_days=half_life_days,
        )
        for each in found
    ]
    return heaviest(weighed, _MOST_SIMILAR)


async def _words(feedback: FeedbackStore, cluster: str) -> list[Feedback]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await feedback.feedback(cluster=cluster)
    except (CortexError, TimeoutError) as error:
        _without("feedback", error)
        return []


async def _recalled(memory: Memory, diagnosis: Diagnosis, signals: Sequence[Signal]) -> list[Recalled]:
    """Cases like this one. A memory that fails is counted and done without."""
    title = title_of(list(signals), diagnosis.target) if signals else str(diagnosis.target)
    try:
        question = clean(question_text(title, diagnosis))
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = await memory.recall(question, cluster=diagnosis.target.cluster, most=CANDIDATES)
    except (CortexError, TimeoutError) as error:
        _without("recall", error)
        return []
    return [each for each in found if each.case.verified]


def _without(operation: str, error: Exception) -> None:
    MEMORY_FAILURES.labels(operation=operation).inc()
    log.warning("memory was not reached", operation=operation, error=str(error) or type(error).__name__)
