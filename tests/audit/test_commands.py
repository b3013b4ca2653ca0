"""`cortexops audit …` on a real database: what it prints, what it leaves, and with which code it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from typer.testing import CliRunner

from cortexops.adapters.postgres import PostgresStore
from cortexops.cli.main import app
from tests.audit.support import a_past
from tests.support.engines import ROOT, Database
from tests.support.postgres import an_entry, tamper

T = TypeVar("T")


class World:
    def __init__(self, database: Database) -> None:
        self.database = database

    def run(self, *arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["audit", *arguments])
        assert done.exit_code == code, f"{done.exit_code}: {done.output}"
        return done.stdout if code == 0 else done.output

    def on_store(self, work: Callable[[PostgresStore], Awaitable[T]]) -> T:
        async def inside() -> T:
            store = await PostgresStore.connect(self.database.dsn)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(inside())

    def tamper(self, statement: str) -> None:
        asyncio.run(tamper(self.database, statement))


@pytest.fixture
def world(migrated_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    monkeypatch.delenv("CORTEXOPS_CONFIG", raising=False)
    monkeypatch.setenv("CORTEXOPS_POSTGRES__DSN", migrated_database.dsn)
    monkeypatch.setenv("CORTEXOPS_AUDIT__ARCHIVE_PATH", str(tmp_path / "archives"))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    return World(migrated_database)


def test_verify_says_where_and_ends_with_one(world: World) -> None:
    chains = world.on_store(a_past)
    assert "9 events checked, 0 faults" in world.run("verify")
    assert "3 events checked, 0 faults" in world.run("verify", chains[0])
    world.tamper(f"UPDATE audit_events SET body = replace(body, 'step', 'leap') WHERE chain = '{chains[1]}'")
    told = world.run("verify", code=1)
    assert f"{chains[1]} #2: content was changed (column body)" in told
    assert "9 events checked, 1 faults" in told
    assert world.run("verify", chains[0])
    assert "was not found" in world.run("verify", "INC-20200101-001", code=1)
    (fault,) = json.loads(world.run("verify", chains[1], "-o", "json", code=1))["faults"]
    assert fault == {"chain": chains[1], "number": 2, "fault": "content was changed", "column": "body"}


def test_an_anchor_is_printed_to_be_kept_and_compared_later(world: World) -> None:
    world.on_store(a_past)
    assert world.run("anchor").startswith(f"{_days_since()} anchors written")
    assert world.run("anchor").startswith("0 anchors written")
    kept = world.run("anchor", "--print").strip()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert kept.startswith(f"{yesterday}:") and len(kept) == 75
    assert "0 faults" in world.run("verify", "--anchor", kept)
    other = f"{yesterday}:{'0' * 64}"
    assert f"anchor of {yesterday}: is not the one kept outside" in world.run(
        "verify", "--anchor", other, code=1
    )
    assert "give HASH" in world.run("verify", "--anchor", "abc", code=2)


def _days_since() -> int:
    return (datetime.now(UTC).date() - timedelta(days=1) - datetime(2026, 1, 2, tzinfo=UTC).date()).days


def test_prune_moves_what_is_old_and_verify_takes_the_archive(world: World, tmp_path: Path) -> None:
    world.on_store(a_past)
    assert "give --before" in world.run("prune", code=2)
    told = json.loads(world.run("prune", "--before", "2026-01-03", "-o", "json"))["archives"]
    assert [(one["rows"], one["incidents"]) for one in told] == [(9, 3)]
    assert Path(told[0]["path"]).parent == tmp_path / "archives"
    assert "nothing is old enough" in world.run("prune", "--before", "2026-01-03")
    assert "9 events are in archives that were not given" in world.run("verify")
    assert "10 events checked, 0 faults" in world.run("verify", "--archive", told[0]["path"])
    assert "is no archive" in world.run("verify", "--archive", "/dev/null", code=2)


def test_prune_goes_by_the_settings_when_no_day_is_given(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.on_store(a_past)
    monkeypatch.setenv("CORTEXOPS_AUDIT__RETENTION_DAYS", "100000")
    assert "nothing is old enough" in world.run("prune")
    monkeypatch.setenv("CORTEXOPS_AUDIT__RETENTION_DAYS", "0.01")
    assert "9 rows of 3 incidents" in world.run("prune")


def test_export_goes_on_where_its_state_says(world: World, tmp_path: Path) -> None:
    world.on_store(a_past)
    state = tmp_path / "cursor"
    first = world.run("export", "--most", "4", "--state", str(state)).splitlines()
    assert [json.loads(line)["cursor"] for line in first] == [1, 2, 3, 4]
    assert state.read_text() == "4\n"
    rest = world.run("export", "--format", "cef", "--state", str(state)).splitlines()
    assert len(rest) == 5 and all(line.startswith("CEF:0|CortexOps|") for line in rest)
    assert "cn2=5 " in rest[0]
    assert world.run("export", "--state", str(state)) == ""
    state.write_text("none")
    assert "holds no cursor" in world.run("export", "--state", str(state), code=2)


_INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from cortexops.cli.main import main
main()
"""
"""A shell has its background jobs ignore Ctrl-C, and whom they start inherits that."""


def test_follow_prints_what_is_recorded_meanwhile_until_it_is_interrupted(world: World) -> None:
    world.on_store(a_past)
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTIBLE, "audit", "export", "--follow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=dict(os.environ),
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        seen = [json.loads(process.stdout.readline())["cursor"] for _ in range(9)]
        assert seen == list(range(1, 10))

        async def more(store: PostgresStore) -> Any:
            return await store.append([an_entry("later")])

        world.on_store(more)
        started = time.monotonic()
        assert json.loads(process.stdout.readline())["chain"] == "later"
        assert time.monotonic() - started < 10
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
