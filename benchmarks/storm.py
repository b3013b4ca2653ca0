"""A storm of signals with one great cause, while the parts that take it are killed and come back.

A gateway, two correlators and an orchestrator run as processes of their own. Most of the storm is posted to the
gateway, the rest published to the stream directly, one signal a message; all publishers send again what was not
confirmed. Afterwards the stream itself is read, and everything is compared with it.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from temporalio.client import Client

from benchmarks.load import Storm, storm
from benchmarks.measure import Row, at_most, exactly, plain
from benchmarks.post import Posted, post
from benchmarks.stack import Process, Stack
from cortexops.adapters.nats.streams import subject_of
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.conservation import Verdict
from cortexops.domain.signal import Signal
from ingest.decode import parse_documents
from sandbox.drills.storm import INCIDENTS_ALONE, Contents, Fact, facts, quiet, read_stream

_BATCH = 100
_AT_ONCE = 4
_DIRECT = 5  # of so many batches one is published to the stream directly
_LOOK = 0.05
_MOST_RSS = 286  # MiB: 300 MB
LONG_AGO = timedelta(minutes=5)
"""The storm began so long ago that nothing in it lies in the future."""

_RATE = 8_000.0  # signals a second, so that the storm lasts long enough to be killed in
_PROCESSES = {
    "gateway": ("gateway",),
    "correlator-1": ("correlator",),
    "correlator-2": ("correlator",),
    "orchestrator": ("orchestrator",),
}
KILLS = (
    (0.10, "correlator"),
    (0.30, "nats"),
    (0.50, "temporal"),
    (0.70, "correlator"),
)
"""Whom to kill when such a share of the storm is published; `correlator` is the one that has most to do."""


@dataclass
class Result:
    """What came of one storm."""

    contents: Contents
    verdict: Verdict
    facts: list[Fact]
    posted: float  # seconds until the last publisher was told that all is stored
    settled: float  # seconds until all was in the books
    rss: Mapping[str, float]  # peak MiB of each correlator, whichever of its lives used most
    kills: list[str]
    answers: Mapping[int, int]
    unconfirmed: int  # publishes to the stream that were sent again
    longest_silence: float  # seconds in which nothing was settled while something waited
    workflows: int


class DirectPublisher:
    """Another program: one signal a message, sent again under its id until it is confirmed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.confirmed = 0
        self.unconfirmed = 0

    async def publish(self, signals: Sequence[Signal], rate: float) -> None:
        """`rate` is the most signals a second; 0 for as fast as they are taken."""
        connection = await nats.connect(
            self._url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_ignore
        )
        jetstream = connection.jetstream(timeout=2)
        began = time.perf_counter()
        try:
            for start in range(0, len(signals), _BATCH):
                if rate and (early := start / rate - (time.perf_counter() - began)) > 0:
                    await asyncio.sleep(early)
                part = signals[start : start + _BATCH]
                await asyncio.gather(*(self._until_confirmed(jetstream, signal) for signal in part))
        finally:
            await connection.close()

    async def _until_confirmed(self, jetstream: JetStreamContext, signal: Signal) -> None:
        data = signal.model_dump_json().encode()
        while True:
            try:
                await jetstream.publish(subject_of(signal), data, headers={"Nats-Msg-Id": signal.id})
                self.confirmed += 1
                return
            except (NatsError, OSError):
                self.unconfirmed += 1
                await asyncio.sleep(0.2)


async def _ignore(_error: Exception) -> None:
    """The client reports each attempt to come back; what is not confirmed is sent again anyway."""


class Killer:
    """Kills what it is told to when so much of the storm is published, and starts it again."""

    def __init__(
        self, stack: Stack, published: Callable[[], float], kills: Sequence[tuple[float, str]]
    ) -> None:
        """`published` tells the share of the storm that the publishers have been told is stored."""
        self._stack = stack
        self._published = published
        self._left = list(kills)
        self.done: list[str] = []
        self.rss: dict[str, float] = {}
        self.longest_silence = 0.0

    async def run(self) -> None:
        """Ends when all is published and all who were killed have come back."""
        before, since = 0, time.monotonic()
        while self._left or self._published() < 1:
            await asyncio.sleep(_LOOK)
            self.look()
            settled = await self._stack.settled()
            if settled != before:
                before, since = settled, time.monotonic()
            elif settled:
                self.longest_silence = max(self.longest_silence, time.monotonic() - since)
            if self._left and self._published() >= self._left[0][0]:
                _, whom = self._left.pop(0)
                await self._kill(whom)

    def look(self) -> None:
        """Note the peak of each correlator: it dies with the process."""
        for name, process in self._stack.processes.items():
            if name.startswith("correlator"):
                self.rss[name] = max(self.rss.get(name, 0.0), process.peak_mib())

    async def _kill(self, whom: str) -> None:
        at = f"at {self._published():.0%}"
        if whom != "correlator":
            self._stack.engines.kill9(whom)  # supervision starts it again on the same data
            self.done.append(f"{whom} {at}")
            return
        name = await self._busiest()
        process = self._stack.processes[name]
        self.look()
        process.kill9()
        self.done.append(f"{name} {at}")
        await process.start()

    async def _busiest(self) -> str:
        """The living correlator with the partition in which most is settled; any while nobody owns one."""
        cursor = await self._stack.database.execute(
            "SELECT owner FROM partitions WHERE owner <> '' ORDER BY messages DESC"
        )
        for (owner,) in await cursor.fetchall():
            if (name := named(owner, self._stack.processes)) is not None:
                return name
        return next(name for name in self._stack.processes if name.startswith("correlator"))


def named(owner: str, processes: Mapping[str, Process]) -> str | None:
    """The running process whose correlator calls itself so: host, process id, a random part."""
    pid = int(owner.split("-")[-2])
    return next((name for name, process in processes.items() if process.process.pid == pid), None)


def storm_of(size: int) -> Storm:
    """One great cause and five unrelated ones."""
    began = datetime.now(UTC) - LONG_AGO
    return storm(size, 6, seed=30, began=began, weights=[95, 1, 1, 1, 1, 1])


def parsed(bodies: Sequence[bytes]) -> list[Signal]:
    """The signals in bodies, through the gateway's own decoding."""
    documents = [json.loads(body) for body in bodies]
    return parse_documents(documents, "alertmanager", cluster="bench", now=datetime.now(UTC)).signals


async def run(
    size: int,
    *,
    kills: Sequence[tuple[float, str]] = KILLS,
    rate: float = 0.0,
    window: float = 1.0,
    lease: float = 5.0,
    within: float = 300.0,
) -> Result:
    """One storm. `rate` is the most signals a second; 0 for as fast as they are taken."""
    load = storm_of(size)
    bodies = load.webhooks(_BATCH)
    direct = parsed(bodies[::_DIRECT])
    posts = [body for number, body in enumerate(bodies) if number % _DIRECT]
    overrides = {"correlator": {"window_seconds": window, "lease_seconds": lease}}
    async with Stack(_PROCESSES, overrides=overrides) as stack:
        store = await PostgresStore.connect(stack.engines.postgres_dsn)
        try:
            return await _run(stack, store, load, posts, direct, kills, rate, within)
        finally:
            await store.close()


async def small(size: int = 5_000) -> Result:
    """A storm of a few thousand with all kills, at such a rate that it outlasts them."""
    return await run(size, rate=800.0, window=0.3, lease=2.0, within=40)


async def _run(
    stack: Stack,
    store: PostgresStore,
    load: Storm,
    posts: Sequence[bytes],
    direct: Sequence[Signal],
    kills: Sequence[tuple[float, str]],
    rate: float,
    within: float,
) -> Result:
    publisher = DirectPublisher(stack.engines.nats_url)
    answers = Posted()
    total = len(direct) + _BATCH * len(posts)
    share = len(direct) / total
    killer = Killer(stack, lambda: (publisher.confirmed + _BATCH * answers.taken) / total, kills)
    began = time.perf_counter()
    async with asyncio.timeout(within), asyncio.TaskGroup() as group:
        killing = group.create_task(killer.run())
        bodies_a_second = rate * (1 - share) / _BATCH
        posting = group.create_task(
            post(
                stack.webhook_url,
                posts,
                at_once=_AT_ONCE,
                rate=bodies_a_second,
                within=within,
                posted=answers,
            )
        )
        publishing = group.create_task(publisher.publish(direct, rate * share))
        await asyncio.gather(posting, publishing)
        posted = time.perf_counter() - began
        await killing
    contents = await read_stream(stack.engines.nats_url)
    verdict = await quiet(stack.nats, store, contents, within)
    settled = await _last_record(stack) - (time.time() - time.perf_counter() + began)
    killer.look()
    client = await Client.connect(stack.engines.temporal_address)
    keys = {workload.key for workload in load.workloads}
    found = await _facts_when_listed(stack, client, contents, verdict, direct, keys)
    return Result(
        contents=contents,
        verdict=verdict,
        facts=[*found, _all_published(load, contents)],
        posted=posted,
        settled=settled,
        rss=dict(killer.rss),
        kills=killer.done,
        answers=dict(answers.statuses),
        unconfirmed=publisher.unconfirmed,
        longest_silence=killer.longest_silence,
        workflows=(await client.count_workflows(INCIDENTS_ALONE)).count,
    )


async def _facts_when_listed(
    stack: Stack,
    client: Client,
    contents: Contents,
    verdict: Verdict,
    direct: Sequence[Signal],
    keys: set[str],
) -> list[Fact]:
    """Temporal's list and the incidents come a little after: look again for a few seconds."""
    published = [signal.id for signal in direct]
    for _ in range(50):
        found = await facts(contents, verdict, stack.database, client, published=published, keys=keys)
        if all(fact.holds for fact in found):
            break
        await asyncio.sleep(0.1)
    return found


def _all_published(load: Storm, contents: Contents) -> Fact:
    return Fact(
        "the stream has every distinct signal of the storm and no other",
        len(contents.ids) == load.distinct,
        f"{load.distinct} published, {len(contents.ids)} in the stream",
    )


async def _last_record(stack: Stack) -> float:
    (at,) = await stack.one("SELECT extract(epoch FROM max(recorded_at)) FROM signal_log")
    return float(at)


async def rows(quick: bool) -> list[Row]:
    """One storm of 100,000 (5,000 when quick) with all kills, and one undisturbed."""
    size = 5_000 if quick else 100_000
    result = await (small(size) if quick else run(size, rate=_RATE))
    what = f"storm of {size}, 6 causes, {len(result.kills)} kill -9"
    found = [
        exactly(f"{what}: incidents", result.workflows, 6),
        *(
            Row(f"  {fact.what}", re.sub(r" messages| signals", "", fact.figures), "", fact.holds, [])
            for fact in result.facts
        ),
        at_most("  peak RSS of a correlator", [max(result.rss.values())], _MOST_RSS, "MiB"),
        plain("  until all was stored", [result.posted], "s"),
        plain("  until all was in the books", [result.settled], "s"),
        plain("  longest time without a settlement", [result.longest_silence], "s"),
        Row("  killed", "; ".join(result.kills), "", None, []),
    ]
    if not quick:
        calm = await run(size, kills=())
        held = all(fact.holds for fact in calm.facts)
        found += [
            Row("the same storm undisturbed: all of it holds", str(held), "True", held, []),
            plain("  until all was in the books", [calm.settled], "s"),
            at_most("  peak RSS of a correlator", [max(calm.rss.values())], _MOST_RSS, "MiB"),
        ]
    return found
