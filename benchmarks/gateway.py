"""Alerts posted to the gateway until all are stored, correlated and their incidents signalled; Alertmanager beside it.

Both get the same alerts in the same batches at the same concurrency and wait equally long for a group to fill.
Of the product run the gateway and the correlator as processes of their own, on the engines that `cortexops up`
uses. The clock stops when the fate of every distinct signal is in the database, which comes after its workflow
was signalled; Alertmanager's when its receiver has heard of every group. Alertmanager keeps alerts in memory
only: what it does is less.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from temporalio.client import Client

from benchmarks.alertmanager import Alertmanager, Receiver, installed
from benchmarks.load import Storm, storm
from benchmarks.measure import Row, plain, ratio_row
from benchmarks.post import post
from benchmarks.stack import Stack

AT_ONCE = 8
BATCH = 100
WINDOW = 1.0
_PROCESSES = {"gateway": ("gateway",), "correlator": ("correlator",)}
_LONGEST = 120.0


@dataclass(frozen=True)
class Run:
    """One run of ours, in seconds from the first byte posted."""

    posted: float  # the gateway has answered the last post: all is in the stream
    started: float  # the last workflow was started
    settled: float  # the fate of every signal is in the database
    cpu: Mapping[str, float]  # processor seconds by process
    workflows: int


def fresh(count: int, causes: int) -> Storm:
    """The storm in little more than the time in which it is posted, and beginning now: Alertmanager does not
    wait for a group whose alerts are older than its wait."""
    return storm(count, causes, seed=20, began=datetime.now(UTC), speed=100)


async def ours(
    make: Callable[[], Storm], *, memory: bool = False, profiles: Path | None = None, flush: str = "critical"
) -> Run:
    """Post the storm and wait until it is settled. Raises `TimeoutError`."""
    overrides = {"correlator": {"window_seconds": WINDOW, "flush_severity": flush}}
    async with Stack(_PROCESSES, overrides=overrides, memory=memory, profiles=profiles) as stack:
        client = await Client.connect(stack.engines.temporal_address)
        load = make()
        bodies = load.webhooks(BATCH)
        before = await stack.cpu()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            posting = group.create_task(post(stack.webhook_url, bodies, at_once=AT_ONCE))
            group.create_task(stack.until_settled(load.distinct, _LONGEST))
        posted = posting.result()
        settled = time.perf_counter() - began
        now = time.time()
        cpu = {name: used - before[name] for name, used in (await stack.cpu()).items()}
        wanted = len(load.causes)
        workflows = await _visible(client, wanted)
        last = [w.start_time.timestamp() async for w in client.list_workflows()]
        return Run(posted.seconds, max(last) - (now - settled), settled, cpu, workflows)


async def _visible(client: Client, wanted: int) -> int:
    """How many workflows Temporal lists; its list lags a little behind."""
    found = 0
    for _ in range(100):
        found = (await client.count_workflows()).count
        if found >= wanted:
            break
        await asyncio.sleep(0.05)
    return found


async def theirs(make: Callable[[], Storm]) -> tuple[float, float, float]:
    """Alertmanager's (seconds until all was posted, until every group was notified, peak MiB)."""
    with tempfile.TemporaryDirectory(prefix="cortexops-bench-") as folder:
        async with Receiver() as receiver:
            async with Alertmanager(Path(folder), receiver.url, group_wait=WINDOW) as alertmanager:
                load = make()
                bodies = load.api_bodies(BATCH)
                began = time.perf_counter()
                posted = await post(alertmanager.url, bodies, at_once=AT_ONCE)
                await receiver.until(len(load.causes), _LONGEST)
                return posted.seconds, time.perf_counter() - began, alertmanager.peak_mib()


async def rows(quick: bool) -> list[Row]:
    """Three rounds on the embedded default, each beside Alertmanager, and one with Temporal in memory."""
    count, causes, rounds = (1_000, 10, 1) if quick else (20_000, 200, 3)

    def load() -> Storm:
        return fresh(count, causes)

    version = installed()
    runs: list[Run] = []
    yardstick: list[float] = []
    ratios: list[float] = []
    for number in range(rounds):
        other = number % 2 == 1  # who goes first alternates
        if version and other:
            yardstick.append((await theirs(load))[1])
        runs.append(await ours(load))
        if version and not other:
            yardstick.append((await theirs(load))[1])
        if version:
            ratios.append(yardstick[-1] / runs[-1].settled)
    what = f"{count} alerts, {causes} incidents: "
    found = [
        ratio_row(f"{what}speed against Alertmanager", ratios, 1.0)
        if version
        else Row(f"{what}speed against Alertmanager", "not installed", ">= 1", None, []),
        plain(f"{what}until all is settled", [run.settled for run in runs], "s"),
        plain("  of it until all was posted", [run.posted for run in runs], "s"),
        plain("  of it until the last workflow started", [run.started for run in runs], "s"),
        plain("  processor time of the gateway", [run.cpu["gateway"] for run in runs], "s"),
        plain("  processor time of the correlator", [run.cpu["correlator"] for run in runs], "s"),
        plain("  workflows (wanted: one an incident)", [float(run.workflows) for run in runs], ""),
    ]
    if yardstick:
        found.append(plain(f"{what}Alertmanager {version}", yardstick, "s"))
    if not quick:
        found.append(
            plain("  the same, Temporal in memory, unsynced", [(await ours(load, memory=True)).settled], "s")
        )
    wrong = [run.workflows for run in runs if run.workflows != causes]
    if wrong:
        found.append(
            Row("one workflow an incident", str(wrong), f"{causes}", False, [float(n) for n in wrong])
        )
    assert statistics.median([run.settled for run in runs]) > 0
    return found
