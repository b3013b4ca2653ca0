"""Alerts posted to the gateway until all are stored, correlated and their incidents signalled; Alertmanager beside it.

Both get the same alerts in the same batches at the same concurrency and wait equally long for a group to fill.
Of the product run the gateway and the correlator as processes of their own, on the engines that `cortexops up`
uses. The clock stops when the fate of every distinct signal is in the database, which comes after its workflow
was signalled.

Alertmanager is measured twice. Told of everything: its clock stops when its receiver has heard of every alert, and
what comes after the first notice of a group waits `NEXT` seconds. First words: by its own default what comes after
waits for five minutes, and the clock stops at the first notice of the last group, whatever was left out of it.
It keeps alerts in memory only: what it does is less either way.
"""

from __future__ import annotations

import asyncio
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
NEXT = 1.0
"""Seconds before Alertmanager tells what came after the first notice: of those tried the best for it."""
DEFAULT_NEXT = 300.0
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


async def theirs(make: Callable[[], Storm], *, everything: bool = True) -> float:
    """Alertmanager's seconds until its receiver has heard of every alert, or of every group at least."""
    with tempfile.TemporaryDirectory(prefix="cortexops-bench-") as folder:
        async with Receiver() as receiver:
            interval = NEXT if everything else DEFAULT_NEXT
            async with Alertmanager(
                Path(folder), receiver.url, group_wait=WINDOW, group_interval=interval
            ) as alertmanager:
                load = make()
                bodies = load.api_bodies(BATCH)
                series = len({alert.fingerprint for alert in load.alerts}) if everything else 0
                began = time.perf_counter()
                await post(alertmanager.url, bodies, at_once=AT_ONCE)
                await receiver.until(len(load.causes), series, _LONGEST)
                return time.perf_counter() - began


async def rows(quick: bool) -> list[Row]:
    """Three rounds on the embedded default, each beside Alertmanager, and one with Temporal in memory."""
    count, causes, rounds = (1_000, 10, 1) if quick else (20_000, 200, 3)

    def load() -> Storm:
        return fresh(count, causes)

    version = installed()
    runs: list[Run] = []
    everything: list[float] = []
    first_words: list[float] = []
    for number in range(rounds):
        if version and number % 2:  # who goes first alternates
            everything.append(await theirs(load))
        runs.append(await ours(load))
        if version:
            first_words.append(await theirs(load, everything=False))
        if version and not number % 2:
            everything.append(await theirs(load))
    what = f"{count} alerts, {causes} incidents: "
    settled = [run.settled for run in runs]
    found = [
        ratio_row(f"{what}speed against Alertmanager", _ratios(everything, settled), 1.0)
        if version
        else Row(f"{what}speed against Alertmanager", "not installed", ">= 1", None, []),
        plain(f"{what}until all is settled", settled, "s"),
        plain("  of it until all was posted", [run.posted for run in runs], "s"),
        plain("  of it until the last workflow started", [run.started for run in runs], "s"),
        plain("  processor time of the gateway", [run.cpu["gateway"] for run in runs], "s"),
        plain("  processor time of the correlator", [run.cpu["correlator"] for run in runs], "s"),
        plain("  workflows (wanted: one an incident)", [float(run.workflows) for run in runs], ""),
    ]
    if version:
        found += [
            plain(f"{what}Alertmanager {version}, told of every alert", everything, "s"),
            plain("  the same, first words about every group alone", first_words, "s"),
            plain("  speed against these first words, all settled", _ratios(first_words, settled), ""),
            plain(
                "  speed against these first words, all workflows started",
                _ratios(first_words, [max(run.posted, run.started) for run in runs]),
                "",
            ),
        ]
    if not quick:
        found.append(
            plain("  the same, Temporal in memory, unsynced", [(await ours(load, memory=True)).settled], "s")
        )
    wrong = [run.workflows for run in runs if run.workflows != causes]
    if wrong:
        found.append(
            Row("one workflow an incident", str(wrong), f"{causes}", False, [float(n) for n in wrong])
        )
    return found


def _ratios(theirs_: list[float], ours_: list[float]) -> list[float]:
    """How much faster than theirs, round by round."""
    return [other / own for other, own in zip(theirs_, ours_, strict=True)]
