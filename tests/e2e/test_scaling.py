"""`cortexops up` adds a correlator while signals wait and stops it when none do: real processes, real leases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from cortexops.adapters.nats import JetStreamBus
from cortexops.adapters.nats.looking import stream_watcher
from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.conservation import conservation
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scaling import ScaleLimits
from cortexops.domain.signal import Signal, SignalFate, SignalStatus
from ingest.accept import accept
from sandbox.platform.platform import Platform
from tests.support.engines import scratch_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

LIMITS = ScaleLimits(most=2, per_process=20, busy_seconds=1, idle_seconds=2)
OVERRIDES = {"correlator": {"window_seconds": 8, "lease_seconds": 4}, "nats": {"partition_by": "namespace"}}


def ended(number: int) -> Signal:
    """News of an end that nobody waits for: it takes its time in a group and starts no workflow."""
    return Signal(
        source="signals",
        cluster="sandbox",
        name="HighLatency",
        status=SignalStatus.RESOLVED,
        resource=ResourceRef(
            cluster="sandbox", kind="Deployment", name=f"gone-{number}", namespace=f"n{number}"
        ),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    ).sealed()


async def until(look: Callable[[], Awaitable[bool]], what: str, within: float) -> None:
    end = time.monotonic() + within
    while not await look():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.2)


async def test_a_backlog_brings_a_second_correlator_that_takes_partitions_and_goes_when_nothing_waits() -> (
    None
):
    with scratch_folder() as folder:
        platform = Platform(folder / "data", overrides=OVERRIDES, scaling=LIMITS)
        async with platform:
            store = await PostgresStore.connect(platform.engines.postgres_dsn)
            try:
                await _comes_and_goes(platform, store)
            finally:
                await store.close()


async def _comes_and_goes(platform: Platform, store: PostgresStore) -> None:
    async with await JetStreamBus.connect(platform.settings.nats) as bus:
        identity = (await bus.stream()).identity

        async def owners() -> set[str]:
            return {owner for _, owner, _ in await store.owners(identity)}

        async def shared_by_two() -> bool:
            return len(await owners() - {""}) == 2

        async def second_is_up() -> bool:
            lines = {part.name: part for part in await platform.status()}
            return "correlator-2" in lines and lines["correlator-2"].problem is None

        async def second_is_gone() -> bool:
            return "correlator-2" not in platform.services

        async def one_owner_of_all() -> bool:
            return len(await owners()) == 1 and "" not in await owners()

        await until(one_owner_of_all, "one correlator owns everything at first", 20)
        for number in range(100):
            await accept(bus, [ended(number)])
        await until(second_is_up, "a second correlator starts", 25)
        await until(shared_by_two, "it takes partitions", 25)
        second = platform.services["correlator-2"]
        await until(second_is_gone, "it goes again", 40)
        await until(one_owner_of_all, "the first one has all partitions again", 20)
        assert second.process.returncode == 0, "an orderly stop"
        assert platform.restarts == {}

    account = await store.account(identity)
    async with stream_watcher(platform.settings.nats) as watcher:
        scene = await watcher.scene()
    verdict = conservation(scene.state.last, account, scene.backlog, scene.unread)
    assert (verdict.unaccounted, verdict.signals) == (0, 100), verdict.law
    assert verdict.fates == {SignalFate.SUPPRESSED: 100}
