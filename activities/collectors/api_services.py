"""The registrations of APIs for which a namespace waits that is being removed."""

from __future__ import annotations

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes.aggregation import serves, undiscovered


@collector("api_services", wave=4)
async def collect(gathering: Gathering) -> None:
    wanted = [each for _, namespace in gathering.of_kind("Namespace") for each in undiscovered(namespace)]
    if not wanted:
        return
    for item in await gathering.listing("APIService", optional=True):
        if any(serves(item, *each) for each in wanted):
            gathering.keep("APIService", item)
