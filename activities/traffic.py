"""How many requests reach what the candidates touch: asked once a target, unknown where it cannot be told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from activities.gathering import Backend
from cortexops.domain.action import Candidate
from cortexops.domain.errors import CortexError
from cortexops.domain.kubernetes.values import objects
from cortexops.domain.prometheus import sample_value
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.traffic import Touched, touched, traffic_query

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 5.0
_MOST_NAMESPACES = 10


class Traffic:
    """The answers of one investigation. Never raises for what Prometheus does, and takes five seconds at most."""

    def __init__(self, backend: Backend | None, scene: Scene) -> None:
        self._backend = backend
        self._scene = scene
        self._known: dict[ResourceRef, float | None] = {}

    async def told(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates with the traffic of what each touches in their blast radius."""
        if self._backend is None:
            return list(candidates)
        asked = [one.action.target for one in candidates if one.feasible]
        new = [target for target in dict.fromkeys(asked) if target not in self._known]
        found = await asyncio.gather(*(self._of(self._backend, target) for target in new))
        self._known.update(zip(new, found, strict=True))
        return [self._with(one) for one in candidates]

    def _with(self, candidate: Candidate) -> Candidate:
        traffic = self._known.get(candidate.action.target)
        if traffic is None or not candidate.feasible:
            return candidate
        radius = candidate.blast_radius.model_copy(update={"traffic": traffic})
        return candidate.model_copy(update={"blast_radius": radius})

    async def _of(self, backend: Backend, target: ResourceRef) -> float | None:
        """Requests a second over all that is touched. None: no counter exists, or one part could not be asked."""
        parts = touched(self._scene, target)
        if not parts or len(parts) > _MOST_NAMESPACES:
            return None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                told = await asyncio.gather(*(_asked(backend, part) for part in parts))
        except (CortexError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            log.warning("traffic is not known", target=str(target), problem=why)
            return None
        counted = [value for value in told if value is not None]
        return round(sum(counted), 3) if counted else None


async def _asked(backend: Backend, part: Touched) -> float | None:
    answer = await backend.get("/api/v1/query", {"query": traffic_query(part), "timeout": "4s"})
    for item in objects(answer, "data", "result")[:1]:
        value = sample_value(item.get("value"))
        return value if value is not None and value >= 0 else None
    return None
