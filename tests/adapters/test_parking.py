"""The stream of parked messages on a real server, also when other programs have put things there."""

from __future__ import annotations

from cortexops.adapters.nats import JetStreamBus
from cortexops.adapters.nats.looking import stream_watcher
from cortexops.adapters.nats.parking import Parking
from cortexops.domain.signal import FateReason
from cortexops.settings_ingest import NatsSettings
from ingest.accept import accept
from sandbox.engines.nats import NatsEngine
from tests.ingest.support import signal


def settings(server: NatsEngine, **more: int) -> NatsSettings:
    return NatsSettings(url=server.endpoint.url, max_bytes=64 * 1024**2, **more)


async def test_messages_come_in_order_by_source_and_reason_and_removed_ones_are_gone(
    nats_server: NatsEngine,
) -> None:
    given = settings(nats_server)
    async with await JetStreamBus.connect(given) as bus, await Parking.connect(given) as parking:
        for number in range(6):
            source = "grafana" if number % 2 else "alertmanager"
            await bus.park(b"%d" % number, FateReason.NO_TARGET, source, "labels: ünknown")
        assert [m.sequence for m in await parking.messages(most=9)] == [1, 2, 3, 4, 5, 6]
        assert [m.body for m in await parking.messages(most=9, source="grafana")] == [b"1", b"3", b"5"]
        assert [m.sequence for m in await parking.messages(most=2, after=2)] == [3, 4]
        assert [m.sequence for m in await parking.messages(most=9, upto=2)] == [1, 2]
        assert await parking.messages(most=9, reason="keeps_failing") == []
        assert await parking.remove(3)
        assert not await parking.remove(3)
        assert await parking.message(3) is None
        identity, number, last = await parking.extent()
        assert (identity != "", number, last) == (True, 5, 6)


async def test_what_another_program_put_there_is_read_without_trust(nats_server: NatsEngine) -> None:
    given = settings(nats_server)
    async with await JetStreamBus.connect(given) as bus, await Parking.connect(given) as parking:
        client = bus._connection.client
        await client.jetstream().publish("parked.x", b"", headers={"Cortex-Size": "9" * 400})
        await client.jetstream().publish("parked.a.b.c.d", b"xy", headers={"Cortex-Size": "-1"})
        first, second = await parking.message(1), await parking.message(2)
        assert first is not None
        assert (first.source, first.reason, first.size, first.body) == ("x", "", 0, b"")
        assert second is not None
        assert (second.source, second.reason, second.size) == ("a", "b.c.d", 2)


async def test_looking_changes_nothing_and_counts_what_nobody_reads(nats_server: NatsEngine) -> None:
    given = settings(nats_server, partitions=3)
    async with await JetStreamBus.connect(given) as bus:
        for cluster in "abcdefgh":
            await accept(bus, [signal(cluster=cluster)])
        await (await bus.read(0, epoch=1, after=0)).close()
    async with stream_watcher(settings(nats_server, partitions=5)) as watcher:
        scene = await watcher.scene()
    assert scene.partitions == 3
    assert set(scene.backlog) == {0}
    assert set(scene.unread) == {1, 2}
    assert sum(scene.backlog.values()) + sum(scene.unread.values()) == 8 == scene.state.last
