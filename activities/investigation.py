"""The investigation contract over collectors, analyzers, memory and the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from temporalio import activity

from activities.errors import for_temporal, heartbeating
from activities.gathering import Backend, Reads
from activities.investigate import alternatives_for, candidates_for, investigate
from activities.recall import PATIENCE_SECONDS, clean
from activities.runbooks import Runbooks
from activities.traffic import Traffic
from cortexops.contracts.investigation import Investigated, InvestigateInput, Investigation
from cortexops.domain.action import Candidate
from cortexops.domain.around import around
from cortexops.domain.case import Case, completed, masked
from cortexops.domain.conclusion import MOST_EVIDENCE
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.earlier import earlier_value
from cortexops.domain.errors import CortexError, InvalidInput
from cortexops.domain.reasoning_material import material
from cortexops.domain.recall import HALF_LIFE_DAYS
from cortexops.domain.report_actions import for_people
from cortexops.domain.scene import Scene
from cortexops.metrics import INVESTIGATION_SECONDS, MEMORY_FAILURES
from cortexops.ports.cluster import ReadableCluster
from cortexops.ports.feedback import FeedbackStore
from cortexops.ports.memory import Memory
from cortexops.ports.store import IncidentStore, LedgerStore

Propose = Callable[[Scene, Diagnosis], list[Candidate]]
_MOST_CANDIDATES = 10


class Books(IncidentStore, LedgerStore, Protocol):
    """Where diagnoses are stored, and what was tried is read."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class InvestigationActivities(Investigation):
    """`clusters` are read-only clients by name; `propose` names what could be done about a diagnosis."""

    def __init__(
        self,
        clusters: Mapping[str, ReadableCluster],
        store: Books,
        memory: Memory | None,
        propose: Propose,
        clock: Callable[[], datetime] = utc_now,
        *,
        telemetry: Mapping[str, Mapping[str, Backend]] | None = None,
        runbooks: Runbooks | None = None,
        feedback: FeedbackStore | None = None,
        half_life_days: float = HALF_LIFE_DAYS,
    ) -> None:
        """`telemetry`: of each cluster the further servers that are asked, by name. `runbooks` are consulted
        after the analysis. `feedback` is what people said of earlier diagnoses."""
        self._feedback = feedback
        self._half_life_days = half_life_days
        self._runbooks = runbooks
        self._telemetry = telemetry or {}
        self._clusters = clusters
        self._store = store
        self._memory = memory
        self._propose = propose
        self._clock = clock

    @activity.defn
    async def investigate(self, question: InvestigateInput) -> Investigated:
        with for_temporal():
            async with heartbeating():
                cluster = self._clusters.get(question.target.cluster)
                if cluster is None:
                    raise InvalidInput("cluster", f"{question.target.cluster!r} is not configured")
                began, before = time.perf_counter(), cluster.requests
                reads = Reads(cluster, self._telemetry.get(cluster.name))
                try:
                    scene, diagnosis = await investigate(
                        cluster,
                        question.signals,
                        target=question.target,
                        environment=question.environment,
                        now=self._clock(),
                        budget_seconds=question.budget_seconds,
                        memory=self._memory,
                        feedback=self._feedback,
                        half_life_days=self._half_life_days,
                        reads=reads,
                    )
                    scene = await self._with_earlier(scene, diagnosis)
                    candidates = candidates_for(self._propose, scene, diagnosis)
                    if self._runbooks is not None:
                        left = question.budget_seconds - (time.perf_counter() - began)
                        diagnosis, candidates = await self._runbooks.consult(
                            reads, scene, diagnosis, candidates, seconds_left=left
                        )
                finally:
                    await reads.close()
                diagnosis = diagnosis.model_copy(update={"evidence": diagnosis.evidence[:MOST_EVIDENCE]})
                candidates = candidates[:_MOST_CANDIDATES]
                others = alternatives_for(self._propose, scene, diagnosis) if question.model else {}
                traffic = Traffic(reads.backends.get("prometheus"), scene)
                candidates = await traffic.told(candidates)
                others = {name: tuple(await traffic.told(found)) for name, found in others.items()}
                await self._store.save_diagnosis(question.incident_id, diagnosis)
                seconds = time.perf_counter() - began
        INVESTIGATION_SECONDS.observe(seconds)
        return Investigated(
            diagnosis=diagnosis,
            candidates=tuple(candidates),
            api_requests=cluster.requests - before,
            seconds=round(seconds, 3),
            material=material(scene, diagnosis) if question.model else (),
            alternatives={name: found[:_MOST_CANDIDATES] for name, found in others.items()},
            by_hand=tuple(for_people(diagnosis, candidates, question.target, around(scene, diagnosis))),
        )

    async def _with_earlier(self, scene: Scene, diagnosis: Diagnosis) -> Scene:
        """With the value that our ledger knows of the key at fault; without, when it cannot be read just now."""
        cause = diagnosis.cause
        key = cause.facts.get("key", "") if cause else ""
        if cause is None or cause.resource.kind != "ConfigMap" or not key:
            return scene
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                rows = await self._store.verified_changes(cause.resource)
        except (CortexError, TimeoutError) as error:
            activity.logger.warning("the ledger was not asked for earlier values: %s", type(error).__name__)
            return scene
        known = earlier_value(rows, cause.resource, key)
        return scene.model_copy(update={"earlier": (known,) if known else ()})

    @activity.defn
    async def remember(self, case: Case) -> bool:
        if self._memory is None:
            return False
        try:
            case = masked(await self._completed(case), clean)
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                await self._memory.remember(case)
        except (CortexError, TimeoutError) as error:
            MEMORY_FAILURES.labels(operation="remember").inc()
            why = str(error) or type(error).__name__
            activity.logger.warning("the case was not remembered: %s", why)
            return False
        return True

    async def _completed(self, case: Case) -> Case:
        """With what the books hold beside; without, when they cannot be reached just now."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                diagnosis = await self._store.diagnosis(case.incident_id)
                rows = await self._store.rows_of(case.incident_id)
        except (CortexError, TimeoutError) as error:
            activity.logger.warning("the case is remembered without its ledger: %s", type(error).__name__)
            return case
        return completed(case, diagnosis, rows)
