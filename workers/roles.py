"""Which parts make which role. One role a process in production; several share one on a laptop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from temporalio.worker import Worker

from cortexops.telemetry import get_logger
from workers.figures import Figures
from workers.runner import investigator, orchestrator, reasoner, remediator
from workers.schedules import Schedules, book_sweeper, cluster_sweeper
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
    watchers = Watchers(watched, bus)
    app = create_gateway(settings, bus, watched=watchers.health)
    return [HttpServer(app, settings.gateway.host, settings.gateway.port), watchers]


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
    client = await wiring.temporal()
    return [
        TemporalPart(orchestrator(client, await wiring.records())),
        TemporalPart(book_sweeper(client, await wiring.book_sweeping())),
        Schedules(client, wiring.settings.sweep, wiring.settings.audit),
    ]


async def investigate(wiring: Wiring, components: Components, urls: dict[str, str]) -> Parts:
    """Reads clusters, asks the model where one is configured, and carries solved cases to memory."""
    from activities.remembering import Remembering

    settings, client = wiring.settings.worker, await wiring.temporal()
    reasoning = await wiring.reasoning()
    activities = await wiring.investigation()
    return [
        TemporalPart(
            investigator(client, activities, reasoning, most=settings.max_concurrent_investigations)
        ),
        TemporalPart(reasoner(client, reasoning, most=settings.max_concurrent_model_calls)),
        Remembering(await wiring.store(), await wiring.memory()),
    ]


async def remediate(wiring: Wiring, components: Components, urls: dict[str, str]) -> Parts:
    """Changes clusters. The only role that is given the writing identity."""
    most = wiring.settings.worker.max_concurrent_remediations
    client = await wiring.temporal()
    return [
        TemporalPart(remediator(client, await wiring.remediation(), most=most)),
        TemporalPart(cluster_sweeper(client, await wiring.row_sweeping())),
    ]


async def console(wiring: Wiring, components: Components, urls: dict[str, str]) -> Parts:
    """Serves people and delivers messages to them."""
    from activities.approval_watch import ApprovalWatch
    from activities.delivery import Delivery
    from activities.notifiers import build_notifiers
    from console.app import create_console
    from console.slack_socket import SlackSocket
    from cortexops.adapters.held import Silencing
    from cortexops.adapters.votes import VoteBox

    settings = wiring.settings
    store = await wiring.store()
    votes = VoteBox(await wiring.temporal(), store)
    silencing = Silencing(store, wiring.temporal)
    app = create_console(settings, store, votes, components, silencing)
    parts: Parts = [HttpServer(app, settings.console.host, settings.console.port)]
    if settings.slack.app_token is not None:
        parts.append(SlackSocket(app.state.buttons, settings.slack))
    parts.append(Figures(store, settings.slo))
    notifiers = build_notifiers(settings)
    if notifiers:
        asked = settings.approvals
        parts.append(Delivery(store, notifiers))
        parts.append(ApprovalWatch(store, every_seconds=asked.watch_seconds, shares=asked.reminders))
    return parts


ROLES: dict[str, Role] = {
    "gateway": gateway,
    "correlator": correlator,
    "orchestrator": orchestrate,
    "investigator": investigate,
    "remediator": remediate,
    "console": console,
}
