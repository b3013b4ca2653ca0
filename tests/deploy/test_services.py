"""The files that Compose mounts into other people's servers, tried on the real servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import nats
import psycopg
import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from cortexops.adapters.policy_opa import OpaPolicy
from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.postgres.migrate import upgrade
from cortexops.adapters.temporal import SEARCH_ATTRIBUTES
from cortexops.domain.policy import Effect
from sandbox.engines.extra import postgres_programs, program
from sandbox.engines.ports import free_port, free_ports
from sandbox.engines.postgres import PostgresEngine
from sandbox.engines.temporal import TemporalEngine
from tests.deploy.files import ROOT, SERVICES
from tests.policies.support import POLICIES, opa_binary, question
from tests.support.engines import scratch_folder

# -- NATS ------------------------------------------------------------------------------------------------


@contextmanager
def nats_with_our_file(folder: Path, password: str) -> Iterator[str]:
    """A server on deploy/nats/nats.conf with other addresses; yields host:port."""
    port, monitor = free_ports(2)
    text = (ROOT / "deploy/nats/nats.conf").read_text("utf-8")
    for there, here in (
        ("0.0.0.0:4222", f"127.0.0.1:{port}"),
        ("127.0.0.1:8222", f"127.0.0.1:{monitor}"),
        ("/data", str(folder / "store")),
    ):
        assert there in text
        text = text.replace(there, here)
    (folder / "nats.conf").write_text(text, "utf-8")
    given = SERVICES["nats"]["environment"]["NATS_PASSWORD"]
    value = given.replace("${NATS_PASSWORD:?set NATS_PASSWORD in .env}", password)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(program("nats-server")), "--config", str(folder / "nats.conf")],
            env={**os.environ, "NATS_PASSWORD": value},
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 10
        while True:
            assert server.poll() is None, (folder / "log").read_text("utf-8")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{monitor}/healthz", timeout=1).status_code == httpx.codes.OK:
                    break
            assert time.monotonic() < end
            time.sleep(0.03)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.parametrize("password", ["a7f3c0ffee", "1234567890", "12e45", "0x1f", "10k"])
async def test_nats_takes_its_user_with_any_password_and_nobody_else(tmp_path: Path, password: str) -> None:
    with nats_with_our_file(tmp_path, password) as address:
        client = await nats.connect(f"nats://cortexops:{password}@{address}", allow_reconnect=False)
        assert client.max_payload == 8 * 1024**2
        await client.jetstream().add_stream(name="TELEMETRY", subjects=["telemetry.>"])
        await client.close()
        # spoken by hand: a client that is refused leaves its socket open
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=3) as stranger:
            stranger.sendall(b"CONNECT {}\r\nPING\r\n")
            said = b""
            while part := stranger.recv(4096):
                said += part
        assert b"Authorization Violation" in said


# -- Postgres --------------------------------------------------------------------------------------------


@asynccontextmanager
async def fresh_postgres() -> AsyncIterator[PostgresEngine]:
    with scratch_folder() as folder:
        server = PostgresEngine(folder / "data", port=free_port(), fsync=False)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


async def test_the_workers_database_user_can_keep_the_books_but_not_change_the_audit_trail() -> None:
    async with fresh_postgres() as server:
        passwords = {
            "TEMPORAL_DB_PASSWORD": "pw-temporal",
            "CORTEXOPS_OWNER_PASSWORD": "pw'owner",  # quoted, never pasted
            "CORTEXOPS_DB_PASSWORD": "pw-worker",
        }
        at = f"127.0.0.1:{server.port}"
        superuser = server.endpoint.plain_dsn
        with psycopg.connect(superuser, autocommit=True) as connection:
            # the engine makes the names that in production only init.sql makes
            connection.execute("CREATE DATABASE elsewhere")
            connection.execute("CREATE ROLE root LOGIN SUPERUSER PASSWORD 'root'")
        with psycopg.connect(f"postgresql://root:root@{at}/elsewhere", autocommit=True) as connection:
            connection.execute("DROP DATABASE cortexops WITH (FORCE)")
            connection.execute("ALTER ROLE cortexops RENAME TO postgres")
        done = await asyncio.to_thread(
            subprocess.run,
            [
                str(postgres_programs() / "psql"),
                "--quiet",
                "--no-psqlrc",
                "--set=ON_ERROR_STOP=1",
                f"--dbname=postgresql://root:root@{at}/elsewhere",
                f"--file={ROOT / 'deploy/postgres/init.sql'}",
            ],
            env={**os.environ, **passwords},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        await asyncio.to_thread(upgrade, f"postgresql+psycopg://cortexops_owner:pw%27owner@{at}/cortexops")
        worker = f"postgresql://cortexops:pw-worker@{at}/cortexops"
        store = await PostgresStore.connect(worker.replace("postgresql:", "postgresql+psycopg:"))
        assert await store.health() is None
        assert await store.incidents() == []
        await store.close()
        with psycopg.connect(worker, autocommit=True) as connection:
            for role in ("RESET ROLE", "SET ROLE cortexops_app"):
                connection.execute(role)
                for statement in ("DELETE FROM audit_events", "DROP TABLE audit_events", "CREATE TABLE x ()"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(statement)
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(f"postgresql://temporal:pw-temporal@{at}/cortexops")
        with psycopg.connect(f"postgresql://temporal:pw-temporal@{at}/temporal_visibility") as connection:
            connection.execute("CREATE TABLE executions_visibility ()")


# -- Temporal --------------------------------------------------------------------------------------------


async def test_the_search_attributes_are_registered_once_and_again() -> None:
    with scratch_folder() as folder:
        port, ui, http, metrics = free_ports(4)
        server = TemporalEngine(
            folder / "data", port=port, ui_port=ui, http_port=http, metrics_port=metrics, persist=False
        )
        address = server.endpoint.address

        async def register() -> tuple[int, str]:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                str(ROOT / "deploy/temporal/search-attributes.sh"),
                env={
                    "PATH": f"{program('temporal').parent}:{os.environ['PATH']}",
                    "HOME": str(folder),
                    "TEMPORAL_ADDRESS": address,
                    "PAUSE_SECONDS": "0.2",
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await process.communicate()
            return process.returncode or 0, said.decode()

        early = asyncio.create_task(register())  # before the server is there: it waits
        await server.start()
        try:
            code, said = await early
            assert code == 0, said
            assert (await register())[0] == 0
            client = await Client.connect(address)
            known = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace="default")
            )
            assert set(SEARCH_ATTRIBUTES) <= set(known.custom_attributes)
        finally:
            await server.stop()


def test_the_script_registers_what_the_code_needs() -> None:
    text = (ROOT / "deploy/temporal/search-attributes.sh").read_text("utf-8")
    assert all(name in text for name in SEARCH_ATTRIBUTES)
    assert set(SEARCH_ATTRIBUTES.values()) == {"Keyword"}


# -- OPA -------------------------------------------------------------------------------------------------


@contextmanager
def opa_as_deployed() -> Iterator[str]:
    port = free_port()
    arguments = [
        f"--addr=127.0.0.1:{port}" if part.startswith("--addr") else part
        for part in SERVICES["opa"]["command"]
    ]
    arguments[arguments.index("/policies")] = str(POLICIES)
    arguments[arguments.index("/authz")] = str(ROOT / "deploy/opa")
    server = subprocess.Popen(
        [str(opa_binary()), *arguments, "--log-level=error"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"HOME": "/nonexistent", "OPA_TOKEN": "0123456789abcdef"},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 10
        while True:
            assert server.poll() is None
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/health", timeout=1).status_code == httpx.codes.OK:
                    break
            assert time.monotonic() < end
            time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.opa
async def test_opa_answers_our_workers_and_lets_nobody_change_a_rule() -> None:
    with opa_as_deployed() as url:
        ours = OpaPolicy(url, token="0123456789abcdef")
        decision = await ours.evaluate(question())
        assert await ours.health() is None
        await ours.close()
        assert decision.effect is Effect.ALLOW, decision
        stranger = OpaPolicy(url)
        assert (await stranger.evaluate(question())).effect is Effect.DENY
        await stranger.close()
        permissive = "package cortexops\ndecision := {}"
        for token in ("", "wrong", "0123456789abcdef"):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            for method, path in (
                ("PUT", "/v1/policies/mine"),
                ("DELETE", "/v1/policies/mine"),
                ("PUT", "/v1/data/cortexops/config"),
                ("PATCH", "/v1/data"),
                ("POST", "/v1/query"),
            ):
                answer = httpx.request(method, f"{url}{path}", headers=headers, content=permissive)
                assert answer.status_code == httpx.codes.UNAUTHORIZED, f"{method} {path} with {token!r}"


# -- Qdrant's health check -------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "healthy"), [(200, True), (503, False)])
def test_the_health_check_of_qdrant_tells_ready_from_not(answer: int, healthy: bool) -> None:
    asked: list[str] = []

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(answer)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            kind, *command = SERVICES["qdrant"]["healthcheck"]["test"]
            assert kind == "CMD"
            command[-1] = command[-1].replace("/6333", f"/{server.server_port}")
            done = subprocess.run(command, capture_output=True, check=False, timeout=5)
        finally:
            server.shutdown()
            serving.join()
    assert (done.returncode == 0) is healthy, done.stderr
    assert asked == ["/readyz"]


def test_the_health_check_of_qdrant_fails_when_nothing_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        _, *command = SERVICES["qdrant"]["healthcheck"]["test"]
        command[-1] = command[-1].replace("/6333", f"/{reserved.getsockname()[1]}")
        assert subprocess.run(command, capture_output=True, check=False, timeout=5).returncode != 0
