"""The correlator, one process, against bare fetch + JSON decode + acknowledgement of the same messages."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nats

from benchmarks.measure import Row, ratio_row
from cortexops.adapters.nats import JetStreamBus
from cortexops.domain.correlation import EndedIncident, Fate
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity, Signal
from cortexops.settings import NatsSettings, load_settings
from ingest.correlator import Correlator
from ingest.owners import OwnerResolver
from sandbox.engines.nats import NatsEngine
from sandbox.engines.ports import free_port

_START = datetime(2026, 1, 1, tzinfo=UTC)


class _Books:
    """The few questions that a correlator asks of the database, answered from memory."""

    def __init__(self) -> None:
        self.known: dict[str, datetime] = {}
        self.recorded = 0

    async def open_keys(self, keys: Sequence[str]) -> set[str]:
        return set()

    async def last_ended(self, keys: Sequence[str]) -> dict[str, EndedIncident]:
        return {}

    async def known_signals(self, ids: Sequence[str]) -> Mapping[str, datetime]:
        return {id_: self.known[id_] for id_ in ids if id_ in self.known}

    async def record_fates(self, records: Sequence[tuple[Signal, Fate, str]]) -> None:
        now = datetime.now(UTC)
        self.known.update((signal.id, now) for signal, _, _ in records)
        self.recorded += len(records)


class _Starter:
    async def deliver(self, key: str, resource: ResourceRef, signals: Sequence[Signal]) -> bool:
        return True

    async def add(self, key: str, signals: Sequence[Signal]) -> bool:
        return True

    async def health(self) -> str | None:
        return None


def _signals(count: int) -> list[Signal]:
    return [
        Signal(
            source="alertmanager",
            cluster="bench",
            name=f"Alert{n % 50}",
            severity=Severity.MEDIUM,
            resource=ResourceRef(cluster="bench", kind="Deployment", namespace="shop", name=f"app-{n % 200}"),
            summary="x" * 100,
            labels={"container": f"c{n}", "namespace": "shop", "severity": "warning"},
            started_at=_START + timedelta(seconds=n),
        ).sealed()
        for n in range(count)
    ]


async def _bare(url: str, count: int, name: str) -> float:
    connection = await nats.connect(url)
    subscription = await connection.jetstream().pull_subscribe(
        "telemetry.>", durable=name, stream="TELEMETRY"
    )
    began, got = time.perf_counter(), 0
    while got < count:
        for message in await subscription.fetch(500):
            json.loads(message.data)
            await message.ack()
            got += 1
    await connection.flush()
    seconds = time.perf_counter() - began
    await connection.close()
    return count / seconds


async def _once(count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="cortexops-bench-") as folder:
        port = free_port()
        server = NatsEngine(Path(folder), port=port, monitor_port=free_port(frozenset({port})))
        await server.start()
        try:
            url = server.endpoint.url
            bus = await JetStreamBus.connect(NatsSettings(url=url))
            signals = _signals(count)
            for start in range(0, count, 500):
                await bus.publish(signals[start : start + 500])
            bare = await _bare(url, count, "bare")
            books = _Books()
            window = 0.2
            settings = load_settings(correlator={"window_seconds": window})
            correlator = Correlator(settings, bus, books, _Starter(), OwnerResolver({}))  # type: ignore[arg-type]
            began = time.perf_counter()
            await correlator.start()
            while books.recorded < count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            seconds = time.perf_counter() - began - window
            await correlator.stop()
            await bus.close()
            return count / seconds / bare
        finally:
            await server.stop()


async def rows(quick: bool) -> list[Row]:
    """Three runs of 20,000 signals (one of 2,000 when quick)."""
    count, runs = (2_000, 1) if quick else (20_000, 3)
    ratios = [await _once(count) for _ in range(runs)]
    return [ratio_row("correlator against bare fetch + decode + ack", ratios, 0.8)]
