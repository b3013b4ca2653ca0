"""A storm in small with everything killed that takes it, partitions that pass on, and a line that is cut."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from benchmarks import handover, storm
from benchmarks.correlator import signals_of
from cortexops.adapters.nats import JetStreamBus
from cortexops.domain.errors import TemporaryError
from cortexops.settings_ingest import NatsSettings
from sandbox.drills.storm import Fact
from sandbox.engines.nats import NatsEngine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def _broken(facts: list[Fact]) -> list[str]:
    return [f"{fact.what}: {fact.figures}" for fact in facts if not fact.holds]


async def test_a_storm_with_one_great_cause_makes_six_incidents_and_loses_nothing_whoever_is_killed() -> None:
    result = await storm.small()
    assert [kill.split(" at ")[0].rstrip("-12") for kill in result.kills] == [whom for _, whom in storm.KILLS]
    assert _broken(result.facts) == []
    assert result.workflows == 6
    assert max(result.rss.values()) < 286  # MiB: 300 MB


async def test_partitions_pass_on_when_correlators_are_killed_added_and_stopped_with_one_owner_a_key() -> (
    None
):
    result = await handover.run(4_000, rate=400.0, lease=2.0)
    assert _broken(result.facts) == []
    assert result.after_kill, "the killed one's partitions passed on"
    assert max(result.after_kill) < 10
    assert len(result.after_join) == 2, "both new ones got their share"


async def test_messages_that_were_on_their_way_when_the_line_was_cut_come_again(
    nats_server: NatsEngine,
) -> None:
    wanted, got = await _read_with_cuts(nats_server)
    assert len(got) == len(set(got)), "each message once"
    assert sorted(got) == wanted


async def _read_with_cuts(server: NatsEngine) -> tuple[list[int], list[int]]:
    """Positions in the stream, and those that a reader was handed whose connection broke now and then."""
    got: list[int] = []
    settings = NatsSettings(url=server.endpoint.url, partitions=1)
    async with await JetStreamBus.connect(settings) as bus:
        signals = signals_of(1_500, 5)
        for signal in signals:
            await bus.publish([signal])
        reader = await bus.read(0, epoch=1, after=0)
        try:
            for turn in range(600):
                try:
                    found = await reader.fetch(100, timedelta(seconds=0.5))
                except TemporaryError:
                    await asyncio.sleep(0.05)
                    continue
                got += [envelope.sequence for envelope in found]
                if len(got) >= len(signals) or (turn > 60 and not found):
                    break
                if (
                    turn < 40 and turn % 4 == 1
                ):  # the server has sent what is asked for, and we have not read it
                    transport = bus._connection.client._transport
                    assert transport is not None
                    transport._io_writer.transport.abort()  # type: ignore[attr-defined]
        finally:
            await reader.close()
    return list(range(1, len(signals) + 1)), got
