"""Quotas and limit ranges of the namespace: they refuse pods, and bound what a remedy may ask for."""

from __future__ import annotations

import asyncio

from activities.collectors import collector
from activities.gathering import Gathering


@collector("quota")
async def collect(gathering: Gathering) -> None:
    namespaces = sorted({root.namespace for root in gathering.roots if root.namespace})
    for namespace in namespaces[:1]:
        quotas, ranges = await asyncio.gather(
            gathering.listing("ResourceQuota", namespace), gathering.listing("LimitRange", namespace)
        )
        for quota in quotas:
            gathering.keep("ResourceQuota", quota)
        for limits in ranges:
            gathering.keep("LimitRange", limits)
