"""A real Postgres server with a data folder and a password of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from cortexops.domain.errors import PermanentError
from sandbox.engines.account import make_reachable, postgres_account
from sandbox.engines.engine import Engine, refused
from sandbox.engines.extra import postgres_programs
from sandbox.engines.launch import launch_command
from sandbox.engines.orphans import runs_with
from sandbox.engines.ports import LOOPBACK

USER = "cortexops"
DATABASE = "cortexops"


@dataclass(frozen=True)
class PostgresEndpoint:
    """Where the server is. The password is not in the repr, so that it does not reach a log by accident."""

    port: int
    password: str = field(repr=False)
    database: str = DATABASE
    user: str = USER

    @property
    def plain_dsn(self) -> str:
        """For psycopg and psql."""
        return f"postgresql://{self.user}:{self.password}@{LOOPBACK}:{self.port}/{self.database}"

    @property
    def dsn(self) -> str:
        """For SQLAlchemy."""
        return self.plain_dsn.replace("postgresql://", "postgresql+psycopg://", 1)


class PostgresEngine(Engine):
    """One Postgres server on loopback TCP, password required, no Unix socket.

    As root it runs under a system account made for it. The password is made once and stays in
    `postgres/password`, readable by the owner only.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions instead of waiting for them
    death_signal = signal.SIGINT

    def __init__(self, data_dir: Path, *, port: int, max_connections: int = 60, fsync: bool = True) -> None:
        super().__init__(data_dir)
        self.port = port
        self._max_connections = max_connections
        self._fsync = fsync
        self._cluster = self.folders.data / "cluster"
        self._password_file = self.folders.data / "password"

    @property
    def endpoint(self) -> PostgresEndpoint:
        return PostgresEndpoint(
            port=self.port, password=self._password_file.read_text(encoding="ascii").strip()
        )

    async def prepare(self) -> Sequence[str]:
        programs = postgres_programs()
        self.process.run_as = postgres_account()
        if self.process.run_as is not None:
            make_reachable(self._cluster, ours=self.folders.data.parent)
            make_reachable(programs / "postgres")
        if not self._cluster.exists():
            await self._initialize(programs)
        self._drop_stale_lock()
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": self._max_connections,
            "fsync": "on" if self._fsync else "off",
            "shared_buffers": "64MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        command = [str(programs / "postgres"), "-D", str(self._cluster)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        return command

    async def _initialize(self, programs: Path) -> None:
        """Run initdb beside the final place and move the result there, so that a crash leaves no half."""
        fresh = self.folders.data / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        self._password_file.unlink(missing_ok=True)
        _write_secret(self._password_file, password)
        for_initdb = self.folders.data / "password.initdb"
        for_initdb.unlink(missing_ok=True)
        _write_secret(for_initdb, password)
        account = self.process.run_as
        if account is not None:
            os.chown(fresh, account.uid, account.gid)
            os.chown(for_initdb, account.uid, account.gid)
        command = [
            str(programs / "initdb"), "-D", str(fresh), "-U", USER, "--pwfile", str(for_initdb),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
            "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8",
        ]  # fmt: skip
        if not self._fsync:
            command.append("--no-sync")
        try:
            await self._run_initdb(launch_command(command, run_as=account))
        finally:
            for_initdb.unlink(missing_ok=True)
        fresh.rename(self._cluster)

    async def _run_initdb(self, command: Sequence[str]) -> None:
        log = self.folders.logs / "initdb.log"
        process = _spawn(command, cwd=self.folders.data, log=log)
        try:
            while process.poll() is None:  # noqa: ASYNC110
                await asyncio.sleep(0.03)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode != 0:
            tail = log.read_text(encoding="utf-8", errors="replace")[-600:].strip()
            raise PermanentError(f"initdb exited with {process.returncode}: {tail}")

    def _drop_stale_lock(self) -> None:
        """Remove Postgres' own pid file when the id in it now belongs to a stranger.

        Postgres would take any living process of its account for itself and refuse to start. We hold the
        folder's lock and have ended our own orphan, so only a stranger can have that id.
        """
        lock = self._cluster / "postmaster.pid"
        try:
            pid = int(lock.read_text(encoding="utf-8").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        if runs_with(pid, str(self._cluster)) is False:
            lock.unlink(missing_ok=True)

    async def opened(self) -> None:
        """Make the application's database when it is not there yet."""
        try:
            await self._ensure_database()
        except psycopg.Error as error:
            raise PermanentError(f"postgres: the database {DATABASE} could not be made: {error}") from error

    async def _ensure_database(self) -> None:
        async with await self._connect("postgres") as connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if await found.fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    async def _connect(self, database: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(
            host=LOOPBACK, port=self.port, user=USER, password=self.endpoint.password, dbname=database,
            connect_timeout=2, autocommit=True,
        )  # fmt: skip

    async def healthy(self) -> str | None:
        if (reason := self._not_running() or await refused(self.port)) is not None:
            return reason
        try:
            async with await self._connect("postgres") as connection:
                await connection.execute("SELECT 1")
        except psycopg.Error as error:
            return f"does not answer ({type(error).__name__})"
        return None


def _spawn(command: Sequence[str], *, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
        )


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
