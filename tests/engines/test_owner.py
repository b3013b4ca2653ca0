"""The process that owns the engines: Ctrl-C and sudden death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.engines.support import alive, assert_trace_is_there, eventually, leave_a_trace
from tests.support.engines import ROOT, RunningEngines, engine_process, scratch_folder


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with scratch_folder() as folder:
        yield folder / "data"


def _family(running: RunningEngines) -> list[int]:
    return [child.pid for child in psutil.Process(running.process.pid).children(recursive=True)]


async def test_a_killed_owner_leaves_no_engine_behind_and_the_next_start_finds_the_data(
    data_dir: Path,
) -> None:
    with engine_process(data_dir) as running:
        addresses = (running.temporal_address, running.nats_url, running.postgres_plain_dsn)
        await leave_a_trace(*addresses)
        family = _family(running)
        assert len(family) > 3
        running.process.kill()
        with engine_process(data_dir) as again:  # at once: the new owner waits for the old children
            assert not any(alive(pid) for pid in family)
            assert (again.temporal_address, again.nats_url, again.postgres_plain_dsn) == addresses
            await assert_trace_is_there(*addresses)
            family = _family(again)
            again.process.kill()
            await eventually(lambda: not any(alive(pid) for pid in family), seconds=10)


async def test_ctrl_c_stops_in_order(data_dir: Path) -> None:
    with engine_process(data_dir) as running:
        family = _family(running)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(20) == 0
        assert not any(alive(pid) for pid in family)
    assert "database system is shut down" in (data_dir / "logs" / "postgres.log").read_text()
    assert not list((data_dir / "run").glob("*.pid"))
    stderr = (data_dir.parent / "data.stderr").read_text()
    assert "Traceback" not in stderr


async def test_ctrl_c_while_starting_leaves_nothing(data_dir: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.engines", "--data", str(data_dir)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        await eventually((data_dir / "run" / "temporal.pid").exists)
        family = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert b"Traceback" not in err
    assert not any(alive(pid) for pid in family)
