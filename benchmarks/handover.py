"""Partitions passing from correlator to correlator: one is killed, two are added, one stands still for a while.

The database itself writes down which process settled what under which epoch, in the order in which it happened.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from signal import Signals
from typing import Any, NamedTuple

from temporalio.client import Client

from benchmarks.load import storm
from benchmarks.measure import Row, exactly, plain
from benchmarks.stack import Stack
from benchmarks.storm import LONG_AGO, parsed
from cortexops.adapters.nats import JetStreamBus
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.errors import TemporaryError
from cortexops.domain.signal import Signal
from sandbox.drills.storm import Fact, facts, quiet, read_stream

_BATCH = 100
_CAUSES = 60
_FIRST = ("correlator-1", "correlator-2", "correlator-3")
_ADDED = ("correlator-4", "correlator-5")
_WATCH = """
CREATE TABLE bench_partitions (
    step bigserial, at timestamptz DEFAULT clock_timestamp(), tx bigint DEFAULT txid_current(), process text,
    number int, epoch bigint, before bigint, messages bigint
);
CREATE TABLE bench_keys (tx bigint, keys text[]);
CREATE FUNCTION bench_partition() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO public.bench_partitions (process, number, epoch, before, messages) VALUES (
        current_setting('bench.process', true), NEW.number, NEW.epoch, OLD.epoch, NEW.messages - OLD.messages);
    RETURN NULL;
END $$;
CREATE FUNCTION bench_key() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO public.bench_keys
        SELECT txid_current(), array_agg(DISTINCT incident_key) FROM new_rows HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER bench_partition AFTER UPDATE ON partitions FOR EACH ROW EXECUTE FUNCTION bench_partition();
CREATE TRIGGER bench_key AFTER INSERT ON signal_log REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION bench_key();
"""


class Step(NamedTuple):
    """One change of a partition's row. It was taken where the epoch grew, and settled where messages did."""

    at: float
    tx: int
    process: str
    number: int
    epoch: int
    taken: bool
    messages: int


@dataclass
class Result:
    """What the database saw."""

    facts: list[Fact]
    after_kill: list[float] = field(default_factory=list)
    """Seconds from the kill until another process settled, of each partition that had to pass on."""
    after_join: list[float] = field(default_factory=list)
    """Seconds from the moment at which a process was ready until it owned its first partition."""
    gaps: list[float] = field(default_factory=list)
    """Seconds between the last settlement of an epoch and the first of the next, where nobody had died."""
    settlements: int = 0
    epochs: int = 0


async def run(
    size: int, *, rate: float, window: float = 0.3, lease: float = 3.0, within: float = 120
) -> Result:
    """Publish so many signals of 60 causes, `rate` a second, and disturb the correlators meanwhile."""
    load = storm(size, _CAUSES, seed=50, began=datetime.now(UTC) - LONG_AGO)
    signals = parsed(load.webhooks(_BATCH))
    overrides: dict[str, dict[str, Any]] = {
        "correlator": {"window_seconds": window, "lease_seconds": lease},
        "nats": {"partition_by": "namespace"},
    }
    async with Stack({"orchestrator": ("orchestrator",)}, overrides=overrides) as stack:
        await stack.database.execute(_WATCH)
        for name in _FIRST:
            await stack.add(name, ("correlator",))
        store = await PostgresStore.connect(stack.engines.postgres_dsn)
        try:
            async with await JetStreamBus.connect(stack.nats) as bus, asyncio.timeout(within):
                return await _run(stack, store, bus, signals, {w.key for w in load.workloads}, rate, lease)
        finally:
            await store.close()


async def _run(
    stack: Stack,
    store: PostgresStore,
    bus: JetStreamBus,
    signals: Sequence[Signal],
    keys: set[str],
    rate: float,
    lease: float,
) -> Result:
    await _shared_by(stack, store, bus, len(_FIRST))
    seconds = len(signals) / rate
    publishing = asyncio.create_task(_publish(bus, signals, rate))
    await asyncio.sleep(0.2 * seconds)
    killed = time.time()
    stack.processes[_FIRST[0]].kill9()
    await asyncio.sleep(0.15 * seconds)
    joined: dict[str, float] = {}
    for name in _ADDED:
        await stack.add(name, ("correlator",))
        joined[name] = time.time()
    await asyncio.sleep(max(0.2 * seconds, 1.5 * lease))
    stack.processes[_FIRST[1]].signal(Signals.SIGSTOP)
    await asyncio.sleep(lease + 1.5)
    resumed = time.time()
    stack.processes[_FIRST[1]].signal(Signals.SIGCONT)
    await publishing
    contents = await read_stream(stack.engines.nats_url)
    verdict = await quiet(stack.nats, store, contents, 60)
    client = await Client.connect(stack.engines.temporal_address)
    published = [signal.id for signal in signals]
    for _ in range(50):
        told = await facts(contents, verdict, stack.database, client, published=published, keys=keys)
        if all(fact.holds for fact in told):
            break
        await asyncio.sleep(0.1)
    steps = await _steps(stack)
    result = Result([*told, *await _order(stack, steps)])
    result.settlements = sum(1 for step in steps if step.messages)
    result.epochs = sum(1 for step in steps if step.taken)
    _times(result, steps, killed, joined, resumed)
    return result


async def _publish(bus: JetStreamBus, signals: Sequence[Signal], rate: float) -> None:
    began = time.perf_counter()
    for start in range(0, len(signals), _BATCH):
        if (early := start / rate - (time.perf_counter() - began)) > 0:
            await asyncio.sleep(early)
        while True:
            try:
                await bus.publish(signals[start : start + _BATCH])
                break
            except TemporaryError:
                await asyncio.sleep(0.2)


async def _shared_by(stack: Stack, store: PostgresStore, bus: JetStreamBus, number: int) -> None:
    identity = (await bus.stream()).identity
    while True:
        owners = {owner for _, owner, _ in await store.owners(identity)}
        if len(owners) == number and "" not in owners:
            return
        await asyncio.sleep(0.05)


async def _steps(stack: Stack) -> list[Step]:
    cursor = await stack.database.execute(
        "SELECT extract(epoch FROM at)::float, tx, coalesce(process, ''), number, epoch, epoch > before, messages "
        "FROM bench_partitions WHERE number >= 0 ORDER BY step"
    )
    return [Step(*found) for found in await cursor.fetchall()]


async def _order(stack: Stack, steps: Sequence[Step]) -> list[Fact]:
    """Nobody settles but the one who took the epoch, and no epoch after a later one; so for partitions and keys."""
    takers: dict[tuple[int, int], str] = {}
    newest: dict[int, int] = defaultdict(int)
    foreign, late = 0, 0
    for step in steps:
        if step.taken:
            takers[step.number, step.epoch] = step.process
        elif step.messages:
            foreign += takers.get((step.number, step.epoch)) != step.process
        late += step.epoch < newest[step.number]
        newest[step.number] = max(newest[step.number], step.epoch)
    by_transaction = {step.tx: step for step in steps if step.messages}
    cursor = await stack.database.execute("SELECT tx, keys FROM bench_keys")
    transactions: dict[int, list[str]] = dict(await cursor.fetchall())
    handled: dict[str, tuple[int, int]] = {}
    owners: dict[str, set[str]] = defaultdict(set)
    overlaps = 0
    for step in steps:  # in order; a transaction settles one partition
        if step.tx not in transactions or by_transaction[step.tx] is not step:
            continue
        for key in transactions[step.tx]:
            before = handled.get(key, (step.number, 0))
            overlaps += before[0] != step.number or step.epoch < before[1]
            handled[key] = step.number, step.epoch
            owners[key].add(step.process)
    moved = sum(1 for names in owners.values() if len(names) > 1)
    lonely = sum(1 for tx in transactions if tx not in by_transaction)
    return [
        Fact(
            "only who took an epoch settles under it, and never after a later one",
            foreign == late == 0,
            f"{sum(1 for s in steps if s.messages)} settlements, {len(takers)} epochs; "
            f"{foreign} by others, {late} late",
        ),
        Fact(
            "no key is handled by two owners at once",
            overlaps == lonely == 0 and moved > 0,
            f"{len(owners)} keys, of which {moved} passed to another process; {overlaps} overlaps",
        ),
    ]


def _times(
    result: Result, steps: Sequence[Step], killed: float, joined: Mapping[str, float], resumed: float
) -> None:
    for name, at in joined.items():
        took = [step.at for step in steps if step.taken and step.process == name]
        result.after_join += [max(0.0, min(took) - at)] if took else []
    last: dict[int, Step] = {}
    for step in steps:
        if not step.messages:
            continue
        before = last.get(step.number)
        last[step.number] = step
        if before is None or before.epoch == step.epoch:
            continue
        if before.process == _FIRST[0]:
            result.after_kill.append(step.at - killed)
        elif before.process != _FIRST[1] or step.at > resumed:
            result.gaps.append(step.at - before.at)


async def rows(quick: bool) -> list[Row]:
    """One run."""
    lease = 3.0
    size, rate = (4_000, 400.0) if quick else (60_000, 4_000.0)
    result = await run(size, rate=rate, lease=lease)
    wrong = sum(1 for fact in result.facts if not fact.holds)
    return [
        exactly(f"hand-over: 3 correlators, 1 killed, 2 added, 1 stopped; {size}: broken", wrong, 0),
        *(Row(f"  {fact.what}", fact.figures, "", fact.holds, []) for fact in result.facts),
        plain(f"  kill -9 until another settles, lease {lease:g} s", result.after_kill, "s"),
        plain("  a new process ready until it owns a partition", result.after_join, "s"),
        plain("  gap between settlements, owner living", result.gaps or [0.0], "s"),
        plain("  epochs", [statistics.fmean([result.epochs])], ""),
    ]
