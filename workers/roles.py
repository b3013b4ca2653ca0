"""Which parts make which role. One role a process in production; several share one on a laptop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from temporalio.worker import Worker

from cortexops.telemetry import get_logger
from workers.figures import Figures
from workers.runner import investigator, orchestrator, remediator
from workers.serving import Components, HttpServer
from workers.wiring import Wiring

_log = get_logger(__name__)


class TemporalPart:
    """A Temporal worker that starts and stops with its process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(self._worker.run())

    async def stop(self) -> None:
        await self._worker.shutdown()
        if self._running is not None:
            with suppress(asyncio.CancelledError):
                await self._running


Parts = list[Any]
Role = Callable[[Wiring, Components, dict[str, str]], Awaitable[Parts]]


async def gateway(wiring: Wiring, components: Components, urls: dict[str, str]) -> Parts:
    """Takes signals from senders and from the clusters' own events."""
    from ingest.app import create_gateway
    from ingest.watcher import Watchers

    settings = wiring.settings
    bus = await wiring.bus()
    readers = await wiring.readers()
    watched = {cluster.name: readers[cluster.name] for cluster in settings.clusters if cluster.watch}
    return [
        HttpServer(create_gateway(settings, bus), settings.gateway.host, settings.gateway.port),
        Watchers(watched, bus),
    ]


async def correlator(wiring: Wiring, components: Components, urls: dict[str, str]) -> Parts:
    """Groups signals into incidents and starts their workflows."""
    from ingest.correlator import Correlator
    from ingest.owners import OwnerResolver
    from ingest.starter import TemporalStarter
    from ingest.surroundings import SurroundingsReader

    settings = wiring.settings
    readers = await wiring.readers()
    resolver = OwnerResolver(
        readers,
        environments={cluster.name: cluster.environment for cluster in settings.clusters},
        environment_label=settings.environment_label,
    )
    starter = TemporalStarter(settings, resolver.environment)
    surroundings = SurroundingsReader(readers)
    return [Correlator(settings, await wiring.bus(), await wiring.store(), starter, resolver, surroundings)]


async def orchestrate(wiring: Wiring, components: Components, urls: dict[str, str]) -> Parts:
    """Runs the workflows, keeps the books, asks policy. Has no cluster identity."""
    return [TemporalPart(orchestrator(await wiring.temporal(), await wiring.records()))]


async def investigate(wiring: Wiring, components: Components, urls: dict[str, str]) -> Parts:
    """Reads clusters."""
    most = wiring.settings.worker.max_concurrent_investigations
    return [TemporalPart(investigator(await wiring.temporal(), await wiring.investigation(), most=most))]


async def remediate(wiring: Wiring, components: Components, urls: dict[str, str]) -> Parts:
    """Changes clusters. The only role that is given the writing identity."""
    most = wiring.settings.worker.max_concurrent_remediations
    return [TemporalPart(remediator(await wiring.temporal(), await wiring.remediation(), most=most))]


async def console(wiring: Wiring, components: Components, urls: dict[str, str]) -> Parts:
    """Serves people and delivers messages to them."""
    from activities.delivery import Delivery
    from activities.notifiers import build_notifiers
    from console.app import create_console
    from cortexops.adapters.held import Silencing
    from cortexops.adapters.votes import VoteBox

    settings = wiring.settings
    store = await wiring.store()
    votes = VoteBox(await wiring.temporal(), store)
    silencing = Silencing(store, wiring.temporal)
    parts: Parts = [
        HttpServer(
            create_console(settings, store, votes, components, silencing),
            settings.console.host,
            settings.console.port,
        )
    ]
    parts.append(Figures(store, settings.slo))
    notifiers = build_notifiers(settings)
    if notifiers:
        parts.append(Delivery(store, notifiers))
    return parts


ROLES: dict[str, Role] = {
    "gateway": gateway,
    "correlator": correlator,
    "orchestrator": orchestrate,
    "investigator": investigate,
    "remediator": remediate,
    "console": console,
}
