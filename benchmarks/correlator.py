"""The correlator, one process, against bare fetch + JSON decode + acknowledgement of the same messages.

Twice: a message for each signal, as other programs publish, and messages of many signals, as the gateway
publishes what it was posted. The figures are signals a second.
"""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import Signals
from typing import Literal

import nats

from benchmarks.load import storm
from benchmarks.measure import Row, plain, ratio_row
from benchmarks.stack import Stack
from cortexops.adapters.nats import JetStreamBus
from cortexops.adapters.nats.streams import subject_of
from cortexops.contracts.incident import Absorption
from cortexops.domain.correlation import EndedIncident
from cortexops.domain.partitions import Account, Claim, Lease, Settlement, fair_share
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Signal
from cortexops.ports.partitions import Shared
from cortexops.settings import load_settings
from cortexops.settings_ingest import NatsSettings
from ingest.correlator import Correlator
from ingest.decode import parse_documents
from ingest.owners import OwnerResolver
from sandbox.engines.nats import NatsEngine
from sandbox.engines.ports import free_ports

Packing = Literal["single", "batch"]
_WINDOW = 0.2  # seconds
_POSTED = 100  # signals in one post to the gateway
_IN_FLIGHT = 500  # publishes without an answer


class _Books:
    """What a correlator asks of the database, answered from memory. One owner, who has every partition."""

    def __init__(self) -> None:
        self.known: dict[str, datetime] = {}
        self.recorded = 0
        self._owner = ""
        self._sums: Counter[str] = Counter()

    async def open_keys(self, keys: Sequence[str]) -> Mapping[str, datetime]:
        return {}

    async def open_signals(self, cluster: str) -> dict[str, tuple[ResourceRef, list[str]]]:
        return {}

    async def last_ended(self, keys: Sequence[str]) -> dict[str, EndedIncident]:
        return {}

    async def known_signals(self, ids: Sequence[str]) -> Mapping[str, datetime]:
        return {id_: self.known[id_] for id_ in ids if id_ in self.known}

    async def share(self, stream: str, owner: str, partitions: int, ttl: timedelta) -> Shared:
        claims = [Claim(number, self._owner) for number in range(partitions)]
        share = fair_share(owner, [owner], claims)
        self._owner = owner
        taken = [Lease(stream, number, 1, 0, (), {}) for number in share.take]
        return Shared(taken, list(share.keep), list(share.release))

    async def release(self, lease: Lease, owner: str) -> None:
        return None

    async def leave(self, owner: str) -> None:
        self._owner = ""

    async def record_settlement(self, lease: Lease, settlement: Settlement) -> None:
        now = datetime.now(UTC)
        self.known.update((entry.signal_id, now) for entry in settlement.entries)
        self._sums["messages"] += len(settlement.sequences)
        self.recorded += sum(settlement.counts.values())

    async def discarded(self, stream: str, messages: int) -> None:
        return None

    async def account(self, stream: str) -> Account:
        return Account(self._sums["messages"], 0, {}, {})


class _Starter:
    async def deliver(
        self, key: str, resource: ResourceRef, documents: Sequence[str], linked: Sequence[ResourceRef] = ()
    ) -> bool:
        return True

    async def add(self, key: str, documents: Sequence[str], linked: Sequence[ResourceRef] = ()) -> bool:
        return True

    async def absorb(self, key: str, absorption: Absorption) -> bool:
        return True

    async def health(self) -> str | None:
        return None


async def publish_each(url: str, signals: Sequence[Signal]) -> None:
    """A message for each signal, as a program that knows nothing of us publishes."""
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    for start in range(0, len(signals), _IN_FLIGHT):
        await asyncio.gather(
            *(
                jetstream.publish(
                    subject_of(signal), signal.model_dump_json().encode(), headers={"Nats-Msg-Id": signal.id}
                )
                for signal in signals[start : start + _IN_FLIGHT]
            )
        )
    await connection.close()


async def _fill(bus: JetStreamBus, url: str, signals: Sequence[Signal], packing: Packing) -> None:
    if packing == "single":
        await publish_each(url, signals)
        return
    for start in range(0, len(signals), _POSTED):
        await bus.publish(signals[start : start + _POSTED])


async def _bare(url: str, count: int) -> float:
    """Signals a second that nats-py fetches, decodes and acknowledges when nothing else is done."""
    connection = await nats.connect(url)
    subscription = await connection.jetstream().pull_subscribe(
        "telemetry.>", durable="bare", stream="TELEMETRY"
    )
    began, got = time.perf_counter(), 0
    while got < count:
        for message in await subscription.fetch(500):
            decoded = json.loads(message.data)
            await message.ack()
            got += len(decoded) if isinstance(decoded, list) else 1
    await connection.flush()
    seconds = time.perf_counter() - began
    await connection.close()
    return count / seconds


async def _correlated(bus: JetStreamBus, count: int) -> float:
    """Signals a second that the correlator groups and settles.

    What is left of the grouping window when everything has been read is waiting, not work, and is not counted:
    of that stretch of time only what the process did is. The clock starts, as the yardstick's, when there is
    a subscription to read from: the first of eight.
    """
    books = _Books()
    settings = load_settings(correlator={"window_seconds": _WINDOW, "flush_severity": "never"})
    correlator = Correlator(settings, bus, books, _Starter(), OwnerResolver({}))  # type: ignore[arg-type]
    await correlator.start()
    while not correlator.owned:  # noqa: ASYNC110
        await asyncio.sleep(0)
    began = time.perf_counter()
    while books.recorded + correlator.held < count:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    read, busy = time.perf_counter(), time.process_time()
    while books.recorded < count:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    ended, busy = time.perf_counter(), time.process_time() - busy
    await correlator.stop()
    waited = min(_WINDOW, max(0.0, ended - read - busy))
    return count / (ended - began - waited)


async def _once(signals: Sequence[Signal], packing: Packing, *, bare_first: bool) -> tuple[float, float]:
    """Signals a second, bare and correlated, on one server that nobody else uses."""
    count = len(signals)
    with tempfile.TemporaryDirectory(prefix="cortexops-bench-") as folder:
        port, monitor = free_ports(2)
        server = NatsEngine(Path(folder), port=port, monitor_port=monitor)
        await server.start()
        try:
            url = server.endpoint.url
            async with await JetStreamBus.connect(NatsSettings(url=url)) as bus:
                await _fill(bus, url, signals, packing)
                bare = await _bare(url, count) if bare_first else 0.0
                correlated = await _correlated(bus, count)
            return bare or await _bare(url, count), correlated
        finally:
            await server.stop()


def signals_of(count: int, causes: int) -> list[Signal]:
    """Distinct signals of a storm, through the gateway's own decoding."""
    load = storm(count, causes, seed=10, repeated=0.0, resolved=0.0)
    documents = [json.loads(body) for body in load.webhooks()]
    return parse_documents(documents, "alertmanager", cluster="bench", now=datetime.now(UTC)).signals


async def whole(signals: Sequence[Signal], packing: Packing, *, profiles: Path | None = None) -> float:
    """Signals a second that a correlator process settles with Postgres and Temporal, from a filled stream."""
    overrides = {"correlator": {"window_seconds": _WINDOW, "flush_severity": "never"}}
    async with Stack({"correlator": ("correlator",)}, overrides=overrides, profiles=profiles) as stack:
        process = stack.processes["correlator"]
        process.signal(Signals.SIGSTOP)
        async with await JetStreamBus.connect(NatsSettings(url=stack.engines.nats_url)) as bus:
            await _fill(bus, stack.engines.nats_url, signals, packing)
        began = time.perf_counter()
        process.signal(Signals.SIGCONT)
        await stack.until_settled(len(signals), 120)
        return len(signals) / (time.perf_counter() - began)


async def _rows(signals: Sequence[Signal], packing: Packing, rounds: int, *, quick: bool) -> list[Row]:
    """Alternating rounds; the ratio is of the two in one round."""
    pairs = [await _once(signals, packing, bare_first=number % 2 == 0) for number in range(rounds)]
    ratios = [ours / bare for bare, ours in pairs]
    if packing == "single":
        first = ratio_row("correlator against bare fetch + decode + ack", ratios, 0.8)
    else:  # has no target: a message of many signals makes fetching cheap and leaves the signals' own work
        first = plain(f"  the same, {_POSTED} signals a post, as the gateway packs", ratios, "of bare")
    found = [
        first,
        plain("  bare nats-py", [bare for bare, _ in pairs], "signals/s"),
        plain("  correlator, its engines answered from memory", [ours for _, ours in pairs], "signals/s"),
    ]
    if not quick:
        speeds = [await whole(signals, packing) for _ in range(3)]
        found.append(plain("  correlator process with Postgres and Temporal", speeds, "signals/s"))
    return found


async def rows(quick: bool) -> list[Row]:
    """Both packings."""
    count, causes, rounds = (2_000, 20, 1) if quick else (20_000, 200, 5)
    signals = signals_of(count, causes)
    gc.collect()
    gc.freeze()  # what this program holds to compare with is not work of either side
    try:
        packings: tuple[Packing, ...] = ("single", "batch")
        return [row for p in packings for row in await _rows(signals, p, rounds, quick=quick)]
    finally:
        gc.unfreeze()
