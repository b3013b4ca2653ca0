"""One investigation: resolve the target, collect in parallel within a budget, analyse, conclude."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from activities.analyzers import analyze
from activities.collectors import COLLECTORS
from activities.gathering import Gathering, Reads
from activities.resolve import resolve
from cortexops.domain.action import Candidate
from cortexops.domain.conclusion import conclude, onset_of
from cortexops.domain.correlation import title_of
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import CortexError
from cortexops.domain.evidence import EvidenceBook, GapReason
from cortexops.domain.redaction import redact
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import Signal
from cortexops.metrics import MEMORY_FAILURES
from cortexops.ports.cluster import ReadableCluster
from cortexops.ports.memory import Memory

log = structlog.get_logger(__name__)

_RECALL_SECONDS = 5.0
_MOST_SIMILAR = 3


async def investigate(
    cluster: ReadableCluster,
    signals: Sequence[Signal],
    *,
    target: ResourceRef,
    environment: str,
    now: datetime,
    budget_seconds: float = 180,
    memory: Memory | None = None,
    reads: Reads | None = None,
) -> tuple[Scene, Diagnosis]:
    """What is wrong around the target, and why. Changes nothing; never raises for what the cluster does.

    Collecting ends after `budget_seconds` with whatever is there; what is missing is in the diagnosis' gaps.
    `reads` shares answers with other investigations of the same moment.
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
    book = EvidenceBook()
    hypotheses = analyze(scene, book)
    diagnosis = conclude(scene, hypotheses, book.entries)
    if memory is not None and diagnosis.cause is not None:
        similar = await _recall(memory, diagnosis, list(signals))
        diagnosis = diagnosis.model_copy(update={"similar": similar})
    return scene, diagnosis


def candidates_for(
    propose: Callable[[Scene, Diagnosis], list[Candidate]], scene: Scene, diagnosis: Diagnosis
) -> list[Candidate]:
    """What could be done; nothing where an action cannot read the object that it would change."""
    try:
        return propose(scene, diagnosis)
    except CortexError as error:
        log.warning("no action could be proposed", target=str(diagnosis.target), error=str(error))
        return []


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


async def _recall(memory: Memory, diagnosis: Diagnosis, signals: list[Signal]) -> tuple[str, ...]:
    """Verified cases like this one, with what worked. A memory that fails is counted and done without."""
    cause = diagnosis.cause
    assert cause is not None
    title = title_of(signals, diagnosis.target) if signals else str(diagnosis.target)
    lines = [title, cause.category, cause.summary, *(fact.summary for fact in diagnosis.evidence[:20])]
    try:
        async with asyncio.timeout(_RECALL_SECONDS):
            found = await memory.recall(
                redact("\n".join(lines)).text, cluster=diagnosis.target.cluster, most=_MOST_SIMILAR
            )
    except (CortexError, TimeoutError) as error:
        MEMORY_FAILURES.labels(operation="recall").inc()
        log.warning("memory was not reached", operation="recall", error=str(error) or type(error).__name__)
        return ()
    return tuple(
        f"{recalled.case.incident_id} ({recalled.case.action_type} worked)"
        if recalled.case.outcome == "RESOLVED"
        else f"{recalled.case.incident_id} ({recalled.case.action_type}: {recalled.case.outcome})"
        for recalled in found
        if recalled.case.verified
    )
