"""The correlator over a real NATS server: one cause one incident, nothing lost, nothing counted twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from nats.js import JetStreamContext

from cortexops.adapters.nats import JetStreamBus
from cortexops.domain.correlation import EndedIncident, Fate
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.incident import IncidentState
from cortexops.domain.signal import FateReason, Severity, SignalFate, SignalStatus
from cortexops.ports.store import Store
from ingest.accept import accept
from ingest.correlator import Correlator
from ingest.owners import OwnerResolver
from ingest.tasks import end
from sandbox.engines.nats import NatsEngine
from tests.ingest.support import START, RecordingStarter, eventually, metric, settings, signal, since, totals
from tests.support.memory_store import MemoryStore

API = "incident:test:shop:Deployment:api"
FAST = TemporaryError("away", delay=timedelta(milliseconds=20))


class Rig:
    """A bus, a store and a starter that outlive correlators."""

    def __init__(self, url: str, **sections: Any) -> None:
        self.settings = settings(url, **sections)
        self.store = MemoryStore()
        self.starter = RecordingStarter()
        self.bus: JetStreamBus

    @asynccontextmanager
    async def correlator(self, **options: Any) -> AsyncIterator[Correlator]:
        async with await JetStreamBus.connect(self.settings.nats) as bus:
            correlator = Correlator(
                self.settings,
                bus,
                cast(Store, self.store),
                self.starter,
                OwnerResolver({}),
                **options,
            )
            await correlator.start()
            try:
                yield correlator
            finally:
                await correlator.stop()

    def fates(self) -> list[tuple[SignalFate, FateReason]]:
        return [tuple(fate) for _, fate, _ in self.store.rows]  # type: ignore[misc]

    @property
    def jetstream(self) -> JetStreamContext:
        return self.bus._connection.client.jetstream()

    async def unacknowledged(self) -> int:
        """Messages that no reader has reported done."""
        return sum((await self.bus.backlog(self.bus.partitions)).values())


@asynccontextmanager
async def rig(server: NatsEngine, **sections: Any) -> AsyncIterator[Rig]:
    made = Rig(server.endpoint.url, **sections)
    async with await JetStreamBus.connect(made.settings.nats) as bus:
        made.bus = bus
        yield made


async def test_signals_of_one_window_become_one_incident(nats_server: NatsEngine) -> None:
    async with rig(nats_server) as world, world.correlator():
        before = totals()
        pods = [signal("PodCrashLooping", kind="Pod", object_name=f"api-7d9f8b6c5d-x2z4{c}") for c in "bcd"]
        await accept(world.bus, [*pods, signal("HighLatency")])
        await eventually(lambda: len(world.store.rows) == 4)
        assert world.starter.started == [API]
        assert sorted(fate for fate, _ in world.fates()) == [SignalFate.MERGED] * 3 + [SignalFate.STARTED]
        assert since(before) == {"ingested": 4, "started": 1, "merged": 3}


async def test_a_critical_signal_does_not_wait_for_the_window(nats_server: NatsEngine) -> None:
    async with rig(nats_server, correlator={"window_seconds": 30}) as world, world.correlator():
        await accept(
            world.bus, [signal("Slow"), signal("Down", object_name="db", severity=Severity.CRITICAL)]
        )
        await eventually(lambda: len(world.starter.started) == 1)
        assert world.starter.started == ["incident:test:shop:Deployment:db"]


async def test_a_correlator_that_died_before_recording_causes_no_second_incident(
    nats_server: NatsEngine,
) -> None:
    before = totals()
    async with rig(nats_server, correlator={"lease_seconds": 2}) as world:
        await accept(world.bus, [signal("A"), signal("B")])
        async with await JetStreamBus.connect(world.settings.nats) as bus:
            store = cast(Store, world.store)
            dying = Correlator(world.settings, bus, store, world.starter, OwnerResolver({}))
            world.store.recording_failures = [FAST] * 1000  # what it delivers is not written down
            await dying.start()
            await eventually(lambda: world.starter.started == [API])
            await end(*dying._tasks)  # killed: nothing is given back
            for partition in dying._partitions.values():
                await partition.close()
        assert world.store.rows == []
        world.store.recording_failures = []
        async with world.correlator():
            await eventually(lambda: len(world.store.rows) == 2)
            await asyncio.sleep(0.1)
            assert await world.unacknowledged() == 0
        assert world.starter.started == [API]
        assert since(before) == {"ingested": 2, "merged": 2}


async def test_while_temporal_or_the_database_is_away_signals_are_held_and_then_settled(
    nats_server: NatsEngine,
) -> None:
    async with (
        rig(nats_server, correlator={"lease_seconds": 2}) as world,
        world.correlator() as correlator,
    ):
        world.starter.failure = FAST
        await accept(world.bus, [signal("A")])
        await eventually(lambda: correlator.healthy() is not None)
        await asyncio.sleep(2.5)  # longer than a lease: what is held stays ours
        assert world.store.rows == []
        assert await world.unacknowledged() == 1
        world.starter.failure, world.store.failure = None, FAST
        await accept(world.bus, [signal("B", object_name="web")])
        await asyncio.sleep(0.3)
        assert world.store.rows == []
        world.store.failure = None
        await eventually(lambda: len(world.store.rows) == 2)
        assert sorted(world.starter.started) == [API, API.replace(":api", ":web")]
        await eventually(lambda: correlator.healthy() is None)
        await asyncio.sleep(0.1)
        assert await world.unacknowledged() == 0
        assert len(world.store.rows) == 2


async def test_a_partition_that_broke_is_given_back_and_taken_up_again(nats_server: NatsEngine) -> None:
    async with rig(nats_server, correlator={"lease_seconds": 2}) as world:
        world.store.recording_failures = cast(Any, [RuntimeError("nobody foresaw this")])
        async with world.correlator() as correlator:
            await eventually(lambda: len(correlator.owned) == world.bus.partitions)
            before = correlator.owned
            await accept(world.bus, [signal("A")])
            await eventually(lambda: len(world.store.rows) == 1, seconds=4)
            await eventually(lambda: len(correlator.owned) == world.bus.partitions)
            assert correlator.healthy() is None
            raised = [number for number, epoch in correlator.owned.items() if epoch > before[number]]
            assert len(raised) == 1
            assert correlator.held == 0
        assert world.starter.started == [API]


async def test_a_broken_partition_that_another_correlator_waits_for_is_given_back_too(
    nats_server: NatsEngine,
) -> None:
    async with rig(nats_server, correlator={"lease_seconds": 2}, nats={"partitions": 2}) as world:
        async with world.correlator() as first:
            await eventually(lambda: len(first.owned) == 2)
            await asyncio.sleep(0.1)  # it sleeps until its next turn
            await end(first._partitions[1]._tasks[0])
            first._partitions[1]._tasks[0] = asyncio.create_task(_broken(), name="read-1")
            async with world.correlator() as second:
                await eventually(lambda: list(second.owned) == [1], seconds=4)
                assert list(first.owned) == [0]


async def _broken() -> None:
    raise RuntimeError("nobody foresaw this")


async def test_what_was_delivered_is_not_sent_again_because_the_database_was_away(
    nats_server: NatsEngine,
) -> None:
    async with rig(nats_server) as world:
        world.store.recording_failures = [FAST, FAST]
        async with world.correlator():
            await accept(world.bus, [signal("A")])
            await eventually(lambda: len(world.store.rows) == 1)
        assert len(world.starter.told) == 1


async def test_a_poison_signal_is_parked_with_its_reason_and_holds_up_nobody(nats_server: NatsEngine) -> None:
    before = totals()
    async with rig(nats_server, correlator={"max_deliver": 1}) as world, world.correlator():
        world.starter.failures["Poison"] = PermanentError("too large for a workflow")
        await accept(world.bus, [signal("A"), signal("Poison"), signal("B"), signal("C", object_name="web")])
        await eventually(lambda: len(world.store.rows) == 4)
        assert (SignalFate.PARKED, FateReason.KEEPS_FAILING) in world.fates()
        assert sorted(world.starter.started) == [API, API.replace(":api", ":web")]
        parked = await world.jetstream.get_msg("TELEMETRY_PARKED", 1)
        assert parked.headers is not None
        assert parked.headers["Cortex-Reason"] == "keeps_failing"
        assert "too large" in parked.headers["Cortex-Detail"]
        assert since(before) == {"ingested": 4, "started": 2, "merged": 1, "parked": 1}
        await asyncio.sleep(0.1)
        assert await world.unacknowledged() == 0


async def test_a_message_that_the_database_refuses_takes_no_other_with_it(nats_server: NatsEngine) -> None:
    async with rig(nats_server, correlator={"max_deliver": 1}) as world, world.correlator():
        world.store.refuses = "Bad"
        for one in (signal("A"), signal("Bad"), signal("C", object_name="web")):
            await accept(world.bus, [one])
        await eventually(lambda: len(world.store.rows) == 2)
        parked = Fate(SignalFate.PARKED, FateReason.KEEPS_FAILING)
        await eventually(lambda: world.store.counts[parked] == 1)
        await asyncio.sleep(0.2)
        assert await world.unacknowledged() == 0


async def test_undecodable_messages_are_parked_and_counted(nats_server: NatsEngine) -> None:
    before = totals()
    async with rig(nats_server) as world, world.correlator():
        stream = world.jetstream
        foreign = signal("Foreign").model_copy(update={"id": "", "fingerprint": ""})
        for data in (b"not json", signal(namespace="").model_dump_json().encode(), b"\xff" * 10):
            await stream.publish("telemetry.x.y", data)
        await stream.publish("telemetry.x.y", foreign.model_dump_json().encode())
        await eventually(lambda: len(world.store.rows) == 1)
        await eventually(lambda: since(before).get("parked") == 3)
        assert world.store.rows[0][0].id == signal("Foreign").id
        assert since(before) == {"ingested": 4, "started": 1, "parked": 3}


async def test_news_of_an_end_joins_a_running_incident_and_never_starts_one(nats_server: NatsEngine) -> None:
    async with rig(nats_server) as world, world.correlator():
        resolved = signal("A", status=SignalStatus.RESOLVED)
        await accept(world.bus, [resolved])
        await eventually(lambda: len(world.store.rows) == 1)
        assert world.fates() == [(SignalFate.SUPPRESSED, FateReason.RESOLVED_UNKNOWN)]
        assert world.starter.started == []
        await accept(world.bus, [signal("A")])
        await eventually(lambda: len(world.store.rows) == 2)
        # The database does not know the incident yet; Temporal does.
        again = signal("B", status=SignalStatus.RESOLVED)
        await accept(world.bus, [again])
        await eventually(lambda: len(world.store.rows) == 3)
        assert world.fates()[2] == (SignalFate.MERGED, FateReason.OPEN_INCIDENT)
        assert world.starter.told[-1] == (API, [again])


async def test_in_the_cooldown_signals_are_suppressed_with_that_reason(nats_server: NatsEngine) -> None:
    async with rig(nats_server) as world, world.correlator():
        world.store.ended[API] = EndedIncident("INC-1", IncidentState.RESOLVED, datetime.now(UTC))
        await accept(world.bus, [signal("A")])
        await eventually(lambda: len(world.store.rows) == 1)
        assert world.fates() == [(SignalFate.SUPPRESSED, FateReason.COOLDOWN)]
        assert world.starter.told == []


async def test_temporal_and_not_the_lagging_database_tells_whether_an_incident_was_open(
    nats_server: NatsEngine,
) -> None:
    async with rig(nats_server) as world, world.correlator():
        world.starter.running.add(API)
        world.store.open.add(API.replace(":api", ":web"))
        await accept(world.bus, [signal("A"), signal("B", object_name="web")])
        await eventually(lambda: len(world.store.rows) == 2)
        fates = {one.resource.name: tuple(fate) for one, fate, _ in world.store.rows}
        assert fates["api"] == (SignalFate.MERGED, FateReason.OPEN_INCIDENT)
        assert fates["web"] == (SignalFate.STARTED, FateReason.NEW_INCIDENT)


async def test_an_alert_older_than_the_open_incident_is_delivered_to_it_once(nats_server: NatsEngine) -> None:
    async with rig(nats_server, nats={"duplicate_window_seconds": 0.2}) as world:
        now = datetime.now(UTC)
        world.starter.running.add(API)
        world.store.open.add(API)
        world.store.opened[API] = now - timedelta(minutes=1)
        world.store.known[signal("A").id] = now - timedelta(days=1)  # the incident of then has ended
        for _ in range(3):
            async with world.correlator():
                known = world.store.counts.total()
                await accept(world.bus, [signal("A")])
                await eventually(lambda: world.store.counts.total() == known + 1)  # noqa: B023
            await asyncio.sleep(0.4)
        assert world.starter.told == [(API, [signal("A")])]
        assert world.fates() == [(SignalFate.MERGED, FateReason.OPEN_INCIDENT)]
        assert world.store.counts[Fate(SignalFate.MERGED, FateReason.DUPLICATE)] == 2


async def test_a_storm_is_folded_and_every_signal_has_a_fate(nats_server: NatsEngine) -> None:
    before = totals()
    async with rig(nats_server, correlator={"window_seconds": 1, "batch": 1000}) as world:
        storm = [signal(f"Alert{n}", severity=Severity.CRITICAL) for n in range(3000)]
        await accept(world.bus, storm)
        async with world.correlator(most_held=2000):
            await eventually(lambda: len(world.store.rows) == 3000)
        assert world.starter.started == [API]
        assert all(len(signals) <= 200 for _, signals in world.starter.told)
        assert len(world.starter.told) <= 6
        assert since(before) == {"ingested": 3000, "started": 1, "merged": 2999}


async def test_what_the_stream_discarded_unread_is_counted_once(nats_server: NatsEngine) -> None:
    before = totals()
    dropped = metric("cortexops_signals_dropped_total")
    async with rig(nats_server, nats={"max_bytes": 60_000}) as world:
        async with world.correlator():
            await accept(world.bus, [signal("First")])
            await eventually(lambda: len(world.store.rows) == 1)
        for n in range(400):
            await accept(world.bus, [signal(f"Alert{n}")])
        kept = (await world.jetstream.stream_info("TELEMETRY")).state.messages
        assert kept < 300
        for _ in range(2):  # a restart does not count it again
            async with world.correlator():
                await eventually(lambda: len(world.store.rows) == 1 + kept)
        assert metric("cortexops_signals_dropped_total") - dropped == 400 - kept
        sums = since(before)
        assert sums.pop("ingested") == 401
        assert sum(sums.values()) == 401


async def test_a_repeated_message_is_no_loss_when_the_stream_moves_on(nats_server: NatsEngine) -> None:
    dropped = metric("cortexops_signals_dropped_total")
    async with rig(nats_server) as world:
        async with world.correlator():
            for _ in range(2):
                await world.bus.publish([signal("X")])
            await eventually(lambda: len(world.store.rows) == 1)
        last = (await world.bus.stream()).last
        for n in range(3):
            await world.bus.publish([signal(f"Z{n}", cluster="other")])
        await world.jetstream.purge_stream("TELEMETRY", seq=last + 4)
        await world.bus.publish([signal("Y")])
        async with world.correlator():
            await eventually(lambda: any(one.name == "Y" for one, _, _ in world.store.rows))
        assert metric("cortexops_signals_dropped_total") == dropped


async def test_it_goes_on_after_the_bus_was_killed(nats_server: NatsEngine) -> None:
    async with rig(nats_server) as world, world.correlator() as correlator:
        await accept(world.bus, [signal("A")])
        await eventually(lambda: len(world.store.rows) == 1)
        nats_server.kill9()
        await eventually(lambda: correlator.healthy() is not None)
        await nats_server.start()
        await eventually(lambda: correlator.healthy() is None)
        for _ in range(50):
            try:
                await accept(world.bus, [signal("B")])
                break
            except TemporaryError:
                await asyncio.sleep(0.1)
        await eventually(lambda: len(world.store.rows) == 2)


async def test_two_correlators_share_the_stream_and_start_one_incident(nats_server: NatsEngine) -> None:
    async with rig(nats_server, correlator={"batch": 5}) as world:
        async with world.correlator(), world.correlator():
            for n in range(20):
                await accept(world.bus, [signal(f"Alert{n}-{m}") for m in range(5)])
            await eventually(lambda: len(world.store.rows) == 100)
        assert world.starter.started == [API]
        assert [fate for fate, _ in world.fates()].count(SignalFate.STARTED) == 1


async def test_an_orderly_stop_gives_back_what_it_holds(nats_server: NatsEngine) -> None:
    async with rig(nats_server, correlator={"window_seconds": 30}) as world:
        async with world.correlator() as correlator:
            await accept(world.bus, [signal("A")])
            await eventually(lambda: correlator.held == 1)
        assert len(world.store.rows) == 1  # there was time to settle it
        world.starter.failure = FAST
        async with world.correlator() as correlator:
            await accept(world.bus, [signal("B", severity=Severity.CRITICAL, object_name="web")])
            await eventually(lambda: correlator.healthy() is not None)
        world.starter.failure = None
        async with world.correlator():
            await eventually(lambda: len(world.store.rows) == 2, seconds=1.5)  # before the timer of 2 s


async def test_ten_posts_of_one_alert_are_one_start(nats_server: NatsEngine) -> None:
    before = totals()
    async with rig(nats_server) as world, world.correlator():
        for _ in range(10):
            await accept(world.bus, [signal("A")])
        await eventually(lambda: len(world.store.rows) == 1)
        await asyncio.sleep(0.2)
        assert world.starter.started == [API]
        assert since(before) == {"ingested": 10, "started": 1, "merged": 9}


async def test_after_an_outage_the_most_severe_and_newest_come_first(nats_server: NatsEngine) -> None:
    async with rig(nats_server) as world, world.correlator() as correlator:
        world.starter.failure = FAST
        order = [Severity.LOW, Severity.CRITICAL, Severity.MEDIUM, Severity.HIGH]
        for number, severity in enumerate(order * 2):
            at = START + timedelta(minutes=number)
            await accept(world.bus, [signal(object_name=f"app{number}", severity=severity, started_at=at)])
            await asyncio.sleep(0.02)
        await eventually(lambda: correlator.held == 8 and correlator.healthy() is not None)
        await asyncio.sleep(0.3)
        world.starter.failure = None
        await eventually(lambda: len(world.starter.started) == 8)
        assert [key.rpartition(":")[2] for key in world.starter.started] == [
            f"app{number}" for number in (5, 1, 7, 3, 6, 2, 4, 0)
        ]
