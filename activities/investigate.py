"""One investigation: resolve the target, collect in parallel within a budget, analyse, conclude."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from activities.analyzers import analyze
from activities.collectors import COLLECTORS
from activities.gathering import Gathering, Reads
from activities.recall import with_experience
from activities.resolve import resolve
from cortexops.domain.action import Candidate
from cortexops.domain.conclusion import conclude, onset_of
from cortexops.domain.diagnosis import Diagnosis, Hypothesis, verdict_of
from cortexops.domain.errors import CortexError
from cortexops.domain.evidence import EvidenceBook, GapReason
from cortexops.domain.reasoning_bounds import eligible, ids
from cortexops.domain.recall import HALF_LIFE_DAYS
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import Signal
from cortexops.domain.steering import Attempt, attempts
from cortexops.metrics import INJECTION_ATTEMPTS, count_masked
from cortexops.ports.cluster import ReadableCluster
from cortexops.ports.feedback import FeedbackStore
from cortexops.ports.memory import Memory

log = structlog.get_logger(__name__)


async def investigate(
    cluster: ReadableCluster,
    signals: Sequence[Signal],
    *,
    target: ResourceRef,
    environment: str,
    now: datetime,
    budget_seconds: float = 180,
    memory: Memory | None = None,
    feedback: FeedbackStore | None = None,
    half_life_days: float = HALF_LIFE_DAYS,
    reads: Reads | None = None,
) -> tuple[Scene, Diagnosis]:
    """What is wrong around the target, and why. Changes nothing; never raises for what the cluster does.

    Collecting ends after `budget_seconds` with whatever is there; what is missing is in the diagnosis' gaps.
    `reads` shares answers with other investigations of the same moment. `memory` and `feedback` are what is
    known from before; `half_life_days` is how fast a precedent loses weight.
    """
    own = reads or Reads(cluster)
    gathering = Gathering(own, target, signals)
    try:
        await _collect_within(gathering, budget_seconds)
    finally:
        if reads is None:
            await own.close()
    scene = gathering.scene(environment=environment, now=now, onset=now)
    scene = scene.model_copy(update={"onset": onset_of(scene)})
    book = EvidenceBook(own.secrets, count_masked)
    hypotheses = [_masked(hypothesis, book.masked) for hypothesis in analyze(scene, book)]
    diagnosis = conclude(scene, hypotheses, book.entries)
    diagnosis = diagnosis.model_copy(update={"attempts": _attempts(scene, book.masked)})
    diagnosis = await with_experience(
        diagnosis, scene, now=now, memory=memory, feedback=feedback, half_life_days=half_life_days
    )
    return scene, diagnosis


def _masked(hypothesis: Hypothesis, mask: Callable[[str], str]) -> Hypothesis:
    """Without secrets in its words. A value that holds one is left out: no action may be made of a mask."""
    facts = {name: value for name, value in hypothesis.facts.items() if mask(value) == value}
    return hypothesis.model_copy(update={"summary": mask(hypothesis.summary), "facts": facts})


def _attempts(scene: Scene, mask: Callable[[str], str]) -> tuple[Attempt, ...]:
    """Who tried to steer the reader, counted. Looked for when nothing of the diagnosis can change any more."""
    found = tuple(each.model_copy(update={"excerpt": mask(each.excerpt)}) for each in attempts(scene))
    for each in found:
        INJECTION_ATTEMPTS.labels(kind=each.kind.value).inc()
    return found


def candidates_for(
    propose: Callable[[Scene, Diagnosis], list[Candidate]], scene: Scene, diagnosis: Diagnosis
) -> list[Candidate]:
    """What could be done; nothing where an action cannot read the object that it would change."""
    try:
        return propose(scene, diagnosis)
    except CortexError as error:
        log.warning("no action could be proposed", target=str(diagnosis.target), error=str(error))
        return []


def alternatives_for(
    propose: Callable[[Scene, Diagnosis], list[Candidate]], scene: Scene, diagnosis: Diagnosis
) -> dict[str, tuple[Candidate, ...]]:
    """What could be done if one of the hypotheses led that a model may put first."""
    found: dict[str, tuple[Candidate, ...]] = {}
    for name, hypothesis in ids(diagnosis).items():
        if name != "h1" and eligible(diagnosis, name):
            ordered = (hypothesis, *(other for other in diagnosis.hypotheses if other is not hypothesis))
            verdict = verdict_of(list(ordered), healthy=False)
            other = diagnosis.model_copy(update={"hypotheses": ordered, "verdict": verdict})
            found[name] = tuple(candidates_for(propose, scene, other))
    return found


async def _collect_within(gathering: Gathering, seconds: float) -> None:
    unfinished: set[str] = {"the target"}
    collecting = asyncio.create_task(_collect(gathering, unfinished))
    try:
        _, pending = await asyncio.wait({collecting}, timeout=seconds)
    except asyncio.CancelledError:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
        raise
    if pending:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
        names = ", ".join(sorted(unfinished))
        gathering.gap(GapReason.CUT, f"collect {names}", f"the budget of {seconds:g} s was used up")
    else:
        collecting.result()


async def _collect(gathering: Gathering, unfinished: set[str]) -> None:
    """Resolve, then one wave after the other; within a wave all at once."""
    await resolve(gathering)
    collectors = [] if not gathering.roots else list(COLLECTORS)
    unfinished.clear()
    unfinished.update(name for name, _ in collectors)
    for wave in sorted({each.wave for _, each in collectors}):
        due = [(name, each) for name, each in collectors if each.wave == wave]
        await asyncio.gather(*(_run(name, each.collect(gathering), unfinished) for name, each in due))


async def _run(name: str, collecting: object, unfinished: set[str]) -> None:
    assert asyncio.iscoroutine(collecting)
    await collecting
    unfinished.discard(name)
