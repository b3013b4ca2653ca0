"""Engines for tests: one set per test session (per worker under xdist), and fresh corners of it per test.

The set runs in a process of its own, so that it depends on no test's event loop and dies with the tests.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from psycopg import sql

from sandbox.engines.__main__ import READY
from sandbox.engines.launch import launch_command
from sandbox.engines.nats import NatsEngine
from sandbox.engines.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
SEARCH_ATTRIBUTES = {
    "CortexState": "Keyword",
    "CortexSeverity": "Keyword",
    "CortexCluster": "Keyword",
    "CortexNamespace": "Keyword",
    "CortexIncidentId": "Keyword",
}
_ROOM = 3 << 30  # bytes
_PREFIX = "cortexops-test-"
_LONG = 3600.0  # seconds; no folder is needed for longer


@dataclass(frozen=True)
class Database:
    """One database; the password is kept out of the repr."""

    name: str
    plain_dsn: str = field(repr=False)

    @property
    def dsn(self) -> str:
        """For SQLAlchemy."""
        return self.plain_dsn.replace("postgresql://", "postgresql+psycopg://", 1)


@dataclass(frozen=True)
class RunningEngines:
    """Engines in another process. `environment` holds the CORTEXOPS_* settings that it printed."""

    data_dir: Path
    process: subprocess.Popen[str] = field(repr=False)
    environment: dict[str, str] = field(repr=False)

    @property
    def temporal_address(self) -> str:
        return self.environment["CORTEXOPS_TEMPORAL__ADDRESS"]

    @property
    def temporal_ui_url(self) -> str:
        return self.environment["CORTEXOPS_TEMPORAL__UI_URL"]

    @property
    def nats_url(self) -> str:
        return self.environment["CORTEXOPS_NATS__URL"]

    @property
    def postgres_dsn(self) -> str:
        return self.environment["CORTEXOPS_POSTGRES__DSN"]

    @property
    def postgres_plain_dsn(self) -> str:
        return self.postgres_dsn.replace("postgresql+psycopg://", "postgresql://", 1)


def in_memory() -> Path | None:
    """A file system in memory that has room for the engines of several workers, if there is one.

    Copying a database means making four hundred small files, twenty times as fast there as on many a disk.
    """
    place = Path("/dev/shm")
    try:
        roomy = shutil.disk_usage(place).free >= _ROOM
    except OSError:
        return None
    return place if roomy and os.access(place, os.W_OK | os.X_OK) else None


def _tidy(place: Path) -> None:
    """Remove what tests that were killed have left: it takes memory."""
    for folder in place.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        try:
            old = time.time() - folder.stat().st_mtime > _LONG
        except FileNotFoundError:
            continue
        if old and pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder directly below a temporary one of the system, gone afterwards: in memory where that is possible.

    Not pytest's own: that is closed to other accounts, and closed again by every other pytest that starts,
    while Postgres, when we are root, runs under an account of its own.
    """
    place = in_memory()
    if place is not None:
        _tidy(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def engine_process(data_dir: Path, *arguments: str) -> Iterator[RunningEngines]:
    """Run `python -m sandbox.engines` until the block ends; everything serves when the block begins."""
    complaints = data_dir.parent / f"{data_dir.name}.stderr"
    with complaints.open("wb") as stderr:
        process = subprocess.Popen(
            launch_command(
                [sys.executable, "-m", "sandbox.engines", "--data", str(data_dir), "--print-env", *arguments],
                death_signal=signal.SIGTERM,
            ),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        environment: dict[str, str] = {}
        for line in process.stdout:
            if line.strip() == READY:
                break
            if not line.startswith("#"):
                key, _, value = line.strip().partition("=")
                environment[key] = value
        else:
            pytest.fail(f"the engines did not start: {complaints.read_text(encoding='utf-8')[-2000:]}")
        yield RunningEngines(data_dir=data_dir, process=process, environment=environment)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def fresh_database(engines: RunningEngines, *, template: str = "template1") -> Iterator[Database]:
    """A database copied from `template` and dropped afterwards.

    Migrate a database once and name it as the template to give each test a migrated one quickly; nobody may
    be connected to the template while it is copied.
    """
    name = f"t_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(engines.postgres_plain_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    server, _, _ = engines.postgres_plain_dsn.rpartition("/")
    try:
        yield Database(name=name, plain_dsn=f"{server}/{name}")
    finally:
        with psycopg.connect(engines.postgres_plain_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def own_nats(folder: Path) -> Iterator[NatsEngine]:
    """A NATS server for the caller alone, up in about 0.1 s, so that streams may have their real names."""
    loop = asyncio.new_event_loop()  # not the tests' own loop, and never set as the current one
    port, monitor = free_ports(2)
    server = NatsEngine(folder, port=port, monitor_port=monitor)
    try:
        loop.run_until_complete(server.start())
        yield server
    finally:
        loop.run_until_complete(server.stop())
        loop.close()


@pytest.fixture(scope="session")
def engines() -> Iterator[RunningEngines]:
    """Temporal, NATS and Postgres, shared by all tests of this worker."""
    attributes = [
        part for item in SEARCH_ATTRIBUTES.items() for part in ("--search-attribute", "=".join(item))
    ]
    with scratch_folder() as folder, engine_process(folder / "data", *attributes) as running:
        with psycopg.connect(running.postgres_plain_dsn, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET max_wal_size = '128MB'")  # it is in memory
            connection.execute("SELECT pg_reload_conf()")
        yield running


@pytest.fixture
def postgres_database(engines: RunningEngines) -> Iterator[Database]:
    """An empty database of this test's own."""
    with fresh_database(engines) as database:
        yield database


@pytest.fixture
def task_queue_prefix() -> str:
    """A prefix for this test's Temporal task queues and workflow ids."""
    return f"t{os.getpid()}-{uuid.uuid4().hex[:8]}-"


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsEngine]:
    """A NATS server of this test's own; `nats_server.endpoint.url`, `.process.kill9()` for drills."""
    with own_nats(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def module_nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsEngine]:
    """A NATS server of this module's own, for modules with many tests that clean up after themselves."""
    with own_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server
