"""`signals explain` and `doctor` against a real database and a real NATS server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner

from cortexops.adapters.nats import JetStreamBus
from cortexops.adapters.postgres import PostgresStore
from cortexops.cli.main import app
from cortexops.domain.correlation import Fate, key_of
from cortexops.domain.incident import IncidentState
from cortexops.domain.partitions import Entry, Settlement
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import FateReason, Signal, SignalFate
from cortexops.settings_ingest import NatsSettings
from ingest.accept import accept
from sandbox.engines.nats import NatsEngine
from tests.ingest.support import signal
from tests.support.engines import Database
from tests.support.postgres import a_draft, an_entry, moved

T = TypeVar("T")
NODE = ResourceRef(cluster="test", kind="Node", name="n1")
STARTED = Fate(SignalFate.STARTED, FateReason.NEW_INCIDENT)
PARTITIONS = 4


class World:
    def __init__(self, database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        self.nats = NatsSettings(url=url, max_bytes=64 * 1024**2, partitions=PARTITIONS)
        monkeypatch.setenv("CORTEXOPS_NATS__URL", url)
        monkeypatch.setenv("CORTEXOPS_NATS__PARTITIONS", str(PARTITIONS))
        monkeypatch.setenv("CORTEXOPS_POSTGRES__DSN", database.dsn)
        monkeypatch.setenv("CORTEXOPS_TEMPORAL__ADDRESS", "127.0.0.1:1")
        for name in ("CORTEXOPS_CONFIG", "CORTEXOPS_TOKEN"):
            monkeypatch.delenv(name, raising=False)

    def run(self, *arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == code, f"{done.exit_code}: {done.output}"
        return done.stdout or done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "-o", "json", code=code))

    def checks(self) -> dict[str, dict[str, Any]]:
        return {item["what"]: item for item in self.json("doctor", code=1)}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    async def settle(
        self, *entries: tuple[Signal, Fate, str], stream: str = "T@1", sequences: tuple[int, ...] = (1,)
    ) -> None:
        """Own everything and write these fates down."""
        store = await PostgresStore.connect(self.database.dsn)
        try:
            shared = await store.share(stream, "me", PARTITIONS, timedelta(minutes=1))
            lease = shared.taken[0]
            rows = [Entry(one.id, fate, key, one.model_dump_json()) for one, fate, key in entries]
            counts: dict[Fate, int] = {}
            for _, fate, _ in entries:
                counts[fate] = counts.get(fate, 0) + 1
            await store.record_settlement(lease, Settlement(max(sequences), sequences, rows, counts, {}))
        finally:
            await store.close()


@pytest.fixture
def world(migrated_database: Database, nats_server: NatsEngine, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(migrated_database, nats_server.endpoint.url, monkeypatch)


def test_a_signal_is_explained_by_the_beginning_of_its_id(world: World) -> None:
    one = signal("Slow")
    world.do(world.settle((one, STARTED, key_of(one.resource))))
    data = world.json("signals", "explain", one.id[:6])
    assert (data["id"], data["fate"], data["reason"], data["link"]) == (
        one.id,
        "started",
        "new_incident",
        None,
    )
    assert data["fingerprint_fields"]["name"] == "Slow"
    assert "fingerprint field name = Slow" in world.run("signals", "explain", one.id)


def test_a_beginning_that_stands_for_several_is_wrong_usage_and_names_them(world: World) -> None:
    ones = [signal("Slow", object_name=f"api-{n}") for n in range(40)]
    world.do(world.settle(*((one, STARTED, key_of(one.resource)) for one in ones)))
    first = ones[0].id[0]
    same = [one.id for one in ones if one.id.startswith(first)]
    assert len(same) > 1, "forty ids and sixteen beginnings"
    said = world.run("signals", "explain", first, code=2)
    assert sorted(same)[0] in said
    assert "was not found" in world.run("signals", "explain", "%", code=1), "no pattern of the database"


def test_a_signal_in_another_objects_incident_says_why_and_where_that_incident_went(world: World) -> None:
    pod = signal("KubePodNotReady", kind="Pod", object_name="api-1")
    fate = Fate(SignalFate.MERGED, FateReason.SAME_NODE)

    async def work() -> tuple[str, str]:
        store = await PostgresStore.connect(world.database.dsn)
        try:
            cause = a_draft(key="incident:test::Node:n1", run="r1", resource=NODE)
            first = await store.open_incident(cause, [], an_entry(idempotency_key="r1:detected"))
            other = a_draft(key="incident:test::Node:n0", run="r2")
            second = await store.open_incident(other, [], an_entry(idempotency_key="r2:detected"))
            await world.settle((pod, fate, first.key))
            merged = moved(first, IncidentState.MERGED, seconds=10**9, merged_into=second.key)
            await store.update_incident(merged, [an_entry(first.id, idempotency_key="r1:merged")])
        finally:
            await store.close()
        return first.id, second.id

    first, second = world.do(work())
    data = world.json("signals", "explain", pod.id)
    assert data["link"]["reason"] == "same_node"
    assert data["link"]["object"] == "Pod shop/api-1"
    assert [(step["id"], step["state"]) for step in data["incidents"]] == [
        (first, "MERGED"),
        (second, "DETECTED"),
    ]
    text = world.run("signals", "explain", pod.id)
    assert f"went into {second}" in text
    assert "the node under it failed" in text


def test_doctor_counts_and_one_engine_that_is_away_hides_no_other(world: World) -> None:
    async def work() -> None:
        async with await JetStreamBus.connect(world.nats) as bus:
            await accept(bus, [signal("A")])
            await accept(bus, [signal("B")])
            identity = (await bus.stream()).identity
        done = [(signal(name), STARTED, "k") for name in "AB"]
        await world.settle(*done, stream=identity, sequences=(1, 2))
        async with await JetStreamBus.connect(world.nats) as bus:
            for partition in range(PARTITIONS):  # as its reader would
                reader = await bus.read(partition, epoch=2, after=2)
                await reader.close()

    world.do(work())
    found = world.checks()
    assert not found["Temporal"]["ok"]
    assert found["books: messages"]["ok"]
    assert found["books: messages"]["detail"] == (
        "2 messages stored = 2 settled + 0 discarded + 0 waiting: nothing waits"
    )
    assert found["books: signals"]["detail"] == "2 signals with a fate = 2 started"
    assert found["partition owners"]["ok"], found["partition owners"]
    assert found["policy"]["ok"]


def test_doctor_finds_a_loss(world: World) -> None:
    async def work() -> None:
        async with await JetStreamBus.connect(world.nats) as bus:
            await accept(bus, [signal("A")])
            for partition in range(PARTITIONS):
                await (await bus.read(partition, epoch=1, after=1)).close()

    world.do(work())
    found = world.checks()["books: messages"]
    assert not found["ok"]
    assert "1 messages are in no book although nothing waits" in found["detail"]


def test_doctor_finds_partitions_without_an_owner_and_settings_that_differ(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with await JetStreamBus.connect(world.nats) as bus:
            await accept(bus, [signal("A")])

    world.do(work())
    monkeypatch.setenv("CORTEXOPS_NATS__PARTITIONS", "9")
    found = world.checks()
    assert found["partitions"]["detail"] == "the stream has 4, nats.partitions is 9"
    assert not found["partitions"]["ok"]
    assert found["partition owners"]["detail"] == "nobody reads partition 0, 1, 2, 3"
    assert "1 waiting" in found["books: messages"]["detail"]
    assert world.checks()["partitions"]["detail"].startswith("the stream has 4"), "looking changes nothing"


def test_doctor_without_nats_still_looks_at_the_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTEXOPS_NATS__URL", "nats://127.0.0.1:1")
    found = world.checks()
    assert not found["NATS"]["ok"]
    assert found["Postgres"]["ok"]


def test_doctor_without_a_database_still_looks_at_the_stream(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with await JetStreamBus.connect(world.nats):
            pass

    world.do(work())
    monkeypatch.setenv("CORTEXOPS_POSTGRES__DSN", "postgresql+psycopg://u:hunter22@127.0.0.1:1/x")
    found = world.checks()
    assert found["partitions"]["ok"]
    assert not found["books: messages"]["ok"]
    assert "hunter22" not in str(found)


def test_missing_embedded_engines_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from cortexops.cli import doctor
    from cortexops.domain.errors import PermanentError
    from sandbox.engines import extra

    def missing() -> None:
        raise PermanentError(extra.MISSING_EXTRA)

    monkeypatch.setattr(extra, "require_extra", missing)
    finding = doctor.extras()
    assert finding.ok
    assert "not installed" in finding.detail


def test_doctor_shows_the_opa_server_its_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from cortexops.adapters import policy

    shown: dict[str, Any] = {}
    real = policy.build_policy

    def build(settings: Any, **given: Any) -> Any:
        shown.update(given)
        return real(settings, **given)

    monkeypatch.setattr(policy, "build_policy", build)
    monkeypatch.setenv("CORTEXOPS_POLICY__ENGINE", "opa")
    monkeypatch.setenv("CORTEXOPS_POLICY__OPA_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CORTEXOPS_POLICY__OPA_TOKEN", "0123456789abcdef")
    found = world.checks()
    assert shown["opa_token"] == "0123456789abcdef"
    assert not found["policy"]["ok"]
    assert "0123456789abcdef" not in str(found)
