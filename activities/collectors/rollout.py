"""Rollout history: the revisions of the target's workloads."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import read_history


@collector("rollout")
async def collect(gathering: Gathering) -> None:
    await asyncio.gather(*(read_history(gathering, root) for root in gathering.roots))
