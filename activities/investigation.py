"""The investigation contract over collectors, analyzers, memory and the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from temporalio import activity

from activities.errors import for_temporal, heartbeating
from activities.gathering import Backend, Reads
from activities.investigate import candidates_for, investigate
from cortexops.contracts.investigation import Investigated, InvestigateInput, Investigation
from cortexops.domain.action import Candidate
from cortexops.domain.case import Case
from cortexops.domain.conclusion import MOST_EVIDENCE
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import CortexError, InvalidInput
from cortexops.domain.scene import Scene
from cortexops.metrics import INVESTIGATION_SECONDS, MEMORY_FAILURES
from cortexops.ports.cluster import ReadableCluster
from cortexops.ports.memory import Memory
from cortexops.ports.store import IncidentStore

Propose = Callable[[Scene, Diagnosis], list[Candidate]]
_MOST_CANDIDATES = 10


def utc_now() -> datetime:
    return datetime.now(UTC)


class InvestigationActivities(Investigation):
    """`clusters` are read-only clients by name; `propose` names what could be done about a diagnosis."""

    def __init__(
        self,
        clusters: Mapping[str, ReadableCluster],
        store: IncidentStore,
        memory: Memory | None,
        propose: Propose,
        clock: Callable[[], datetime] = utc_now,
        *,
        telemetry: Mapping[str, Mapping[str, Backend]] | None = None,
    ) -> None:
        """`telemetry`: of each cluster the further servers that are asked, by name."""
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
                        reads=reads,
                    )
                finally:
                    await reads.close()
                diagnosis = diagnosis.model_copy(update={"evidence": diagnosis.evidence[:MOST_EVIDENCE]})
                candidates = candidates_for(self._propose, scene, diagnosis)[:_MOST_CANDIDATES]
                await self._store.save_diagnosis(question.incident_id, diagnosis)
                seconds = time.perf_counter() - began
        INVESTIGATION_SECONDS.observe(seconds)
        return Investigated(
            diagnosis=diagnosis,
            candidates=tuple(candidates),
            api_requests=cluster.requests - before,
            seconds=round(seconds, 3),
        )

    @activity.defn
    async def remember(self, case: Case) -> bool:
        if self._memory is None:
            return False
        try:
            await self._memory.remember(case)
        except CortexError as error:
            MEMORY_FAILURES.labels(operation="remember").inc()
            activity.logger.warning("the case was not remembered: %s", error)
            return False
        return True
