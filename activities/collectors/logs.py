"""Logs of the containers that fail: the run that died, then the present one."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import read_logs


@collector("logs", wave=2)
async def collect(gathering: Gathering) -> None:
    roots = [root for root in gathering.roots if root.kind != "Node"]
    await asyncio.gather(*(read_logs(gathering, root) for root in roots[:3]))
