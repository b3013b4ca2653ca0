"""What must be true after a storm, asked of the engines themselves.

The stream is read from its first message to its last, so that what publishers are not sure of (an answer that
never came) is known for certain; everything else is compared with that.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
import nats
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from temporalio.client import Client

from cortexops.adapters.nats.looking import stream_watcher
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.incident import INCIDENT_WORKFLOW
from cortexops.domain.conservation import Verdict, conservation
from cortexops.domain.signal import SignalFate
from cortexops.settings_ingest import NatsSettings
from ingest.sighting import documents

_PAGE = 200  # messages a fetch: a client drops what is more than 128 MiB unread
_PATIENCE = 5.0  # seconds for one page
INCIDENTS_ALONE = f"WorkflowType = '{INCIDENT_WORKFLOW}'"
"""Finds the workflows of incidents; Schedules have workflows of their own, one more at a full minute."""


class _Id(msgspec.Struct):
    id: str


@dataclass
class Contents:
    """What is in the stream."""

    messages: int = 0
    signals: int = 0
    ids: Counter[str] = field(default_factory=Counter)


class Fact(NamedTuple):
    """Something that must hold, whether it does, and the figures that say so."""

    what: str
    holds: bool
    figures: str


async def read_stream(url: str, stream: str = "TELEMETRY") -> Contents:
    """Everything that the stream holds; nothing is acknowledged and no reader disturbed."""
    found = Contents()
    decode = msgspec.json.Decoder(_Id).decode
    connection = await nats.connect(url)
    try:
        jetstream = connection.jetstream()
        last = (await jetstream.stream_info(stream)).state.last_seq
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.ALL,
            inactive_threshold=timedelta(minutes=1).total_seconds(),
        )
        subscription = await jetstream.pull_subscribe("telemetry.>", stream=stream, config=config)
        position = 0
        while position < last:
            for message in await subscription.fetch(_PAGE, timeout=_PATIENCE):
                position = message.metadata.sequence.stream
                parts = documents(message.data)
                found.messages += 1
                found.signals += len(parts)
                found.ids.update(decode(part).id for part in parts)
        with suppress(NatsTimeout):
            await subscription.unsubscribe()
    finally:
        await connection.close()
    return found


async def books(settings: NatsSettings, store: PostgresStore) -> Verdict:
    """The law of conservation as `cortexops doctor` asks it: the stream first, the books last."""
    async with stream_watcher(settings) as watcher:
        scene = await watcher.scene()
    account = await store.account(scene.state.identity)
    return conservation(scene.state.last, account, scene.backlog, scene.unread)


async def quiet(settings: NatsSettings, store: PostgresStore, contents: Contents, within: float) -> Verdict:
    """Wait until every signal of the stream has a fate and nothing waits. The last verdict in any case."""
    end = time.monotonic() + within
    while True:
        verdict = await books(settings, store)
        done = verdict.waiting == 0 and verdict.unaccounted == 0 and verdict.signals >= contents.signals
        if done or time.monotonic() > end:
            return verdict
        await asyncio.sleep(0.1)


async def facts(
    contents: Contents,
    verdict: Verdict,
    database: Any,
    temporal: Client,
    *,
    published: Collection[str],
    keys: Collection[str],
) -> list[Fact]:
    """What must hold when all is quiet. `published` are the ids that publishers were told are stored, `keys` the
    incidents that there must be; `database` is a psycopg connection."""
    lost = [id_ for id_ in published if id_ not in contents.ids]
    rows, distinct = await _one(database, "SELECT count(*), count(DISTINCT signal_id) FROM signal_log")
    workflows = Counter([workflow.id async for workflow in temporal.list_workflows(INCIDENTS_ALONE)])
    incidents = [key for (key,) in await _all(database, "SELECT key FROM incidents")]
    duplicates = contents.signals - len(contents.ids)
    fates = verdict.fates
    # Whoever dies between starting a workflow and saying so leaves one that its successor finds running.
    started = fates.get(SignalFate.STARTED, 0)
    return [
        Fact("nothing that was confirmed is missing from the stream", not lost, f"{len(lost)} missing"),
        Fact(
            "stored = settled + discarded + waiting, in messages",
            verdict.stored == contents.messages == verdict.settled
            and verdict.discarded == verdict.waiting == verdict.unaccounted == 0,
            verdict.law,
        ),
        Fact(
            "every signal of the stream has exactly one fate",
            verdict.signals == contents.signals,
            f"{contents.signals} in the stream; {verdict.fates_sum}",
        ),
        Fact(
            "one row in the log for each distinct signal",
            rows == distinct == len(contents.ids),
            f"{rows} rows, {distinct} distinct; in the stream {len(contents.ids)} and {duplicates} copies",
        ),
        Fact(
            "one workflow for each cause",
            workflows == Counter(keys) and started <= len(keys),
            f"{workflows.total()} workflows of {len(workflows)} keys, {started} signals started one",
        ),
        Fact(
            "one incident for each cause",
            sorted(incidents) == sorted(keys),
            f"{len(incidents)} incidents of {len(set(incidents))} keys",
        ),
    ]


async def _one(database: Any, query: str) -> tuple[Any, ...]:
    return (await _all(database, query))[0]


async def _all(database: Any, query: str) -> list[tuple[Any, ...]]:
    cursor = await database.execute(query)
    return list(await cursor.fetchall())
