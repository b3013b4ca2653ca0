"""ConfigMaps and Secrets that the target's workloads read."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import read_configuration


@collector("configuration")
async def collect(gathering: Gathering) -> None:
    roots = [root for root in gathering.roots if root.kind != "Node"]
    await asyncio.gather(*(read_configuration(gathering, root) for root in roots))
