"""Parked messages on a real NATS server and a real database: looked at, replayed, dropped, and explained."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner

from cortexops.adapters.nats import JetStreamBus
from cortexops.adapters.nats.parking import Parking
from cortexops.adapters.postgres import PostgresStore
from cortexops.cli.main import app
from cortexops.domain.audit import PLATFORM, AuditEvent
from cortexops.domain.signal import FateReason
from cortexops.settings_ingest import NatsSettings
from ingest.accept import refuse
from ingest.source import Rejection
from sandbox.engines.nats import NatsEngine
from tests.ingest.support import alert, signal, webhook
from tests.support.engines import Database

T = TypeVar("T")
GOOD = alert(namespace="shop", deployment="api")
NOWHERE = alert(job="node-exporter")


class World:
    """One NATS server and one database, and the command line on both."""

    def __init__(self, server: NatsEngine, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nats = NatsSettings(url=server.endpoint.url, max_bytes=64 * 1024**2)
        self.dsn = database.dsn
        monkeypatch.setenv("CORTEXOPS_NATS__URL", self.nats.url)
        monkeypatch.setenv("CORTEXOPS_POSTGRES__DSN", database.dsn)

    def run(self, *arguments: str, code: int = 0, typed: str | None = None) -> str:
        done = CliRunner().invoke(app, list(arguments), input=typed)
        assert done.exit_code == code, f"{done.exit_code}: {done.output}"
        return done.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "-o", "json", code=code))

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    def park(
        self, *bodies: bytes, source: str = "alertmanager", reason: FateReason = FateReason.NO_TARGET
    ) -> None:
        async def work() -> None:
            async with await JetStreamBus.connect(self.nats) as bus:
                for body in bodies:
                    await bus.park(body, reason, source, "labels: name no object")

        self.do(work())

    def stored(self) -> list[dict[str, Any]]:
        """Everything in the stream of signals, message by message."""

        async def work() -> list[dict[str, Any]]:
            async with await JetStreamBus.connect(self.nats) as bus:
                found = []
                for partition in range(bus.partitions):
                    reader = await bus.read(partition, epoch=1, after=0)
                    while envelopes := await reader.fetch(500, timedelta(milliseconds=50)):
                        for envelope in envelopes:
                            parsed = json.loads(envelope.data)
                            found += parsed if isinstance(parsed, list) else [parsed]
                    await reader.close()
                return found

        return self.do(work())

    def messages(self) -> int:
        async def work() -> int:
            async with await JetStreamBus.connect(self.nats) as bus:
                return (await bus.stream()).last

        return self.do(work())

    def audit(self) -> list[AuditEvent]:
        async def work() -> list[AuditEvent]:
            store = await PostgresStore.connect(self.dsn)
            try:
                _, faults = await store.verify()
                assert not faults
                return await store.events(PLATFORM)
            finally:
                await store.close()

        return self.do(work())


@pytest.fixture
def world(nats_server: NatsEngine, migrated_database: Database, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in ("CORTEXOPS_CONFIG", "CORTEXOPS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "ana")
    return World(nats_server, migrated_database, monkeypatch)


def encoded(item: Any) -> bytes:
    return json.dumps(item).encode()


def test_where_nothing_is_parked_nothing_is_listed_and_there_is_no_stream_yet(world: World) -> None:
    assert "nothing is parked" in world.run("parked", "list")
    world.run("parked", "show", "1", code=1)


def test_the_list_says_what_from_whom_and_why(world: World) -> None:
    world.park(encoded(NOWHERE))
    world.park(b"x" * 70_000, source="unknown", reason=FateReason.UNDECODABLE)
    first, second = world.json("parked", "list")
    assert (first["sequence"], first["source"], first["reason"]) == (1, "alertmanager", "no_target")
    assert first["detail"] == "labels: name no object"
    assert (second["size"], second["cut"]) == (70_000, True)
    assert [row["sequence"] for row in world.json("parked", "list", "--reason", "undecodable")] == [2]
    assert [row["sequence"] for row in world.json("parked", "list", "--after", "1")] == [2]
    assert "more with --after 1" in world.run("parked", "list", "--most", "1")
    world.run("parked", "list", "--reason", "a.*", code=2)


def test_a_body_is_shown_without_secrets_and_cannot_talk_to_the_terminal(world: World) -> None:
    world.park(b'\x1b]0;owned\x07{"password": "hunter2hunter2", "n": "\xe2\x80\xae"}\r\n\xff')
    text = world.run("parked", "show", "1")
    assert not [character for character in text if ord(character) < 32 and character != "\n"]
    assert "\\x1b]0;owned" in text
    assert "\\u202e" in text
    assert "hunter2" not in text
    assert "hunter2" not in world.run("parked", "show", "1", "-o", "json")


def test_what_can_be_read_now_is_stored_and_parked_no_more(world: World) -> None:
    world.park(encoded(GOOD), encoded(NOWHERE))
    first, second = world.json("parked", "replay", "1", "2", code=1)
    assert (first["stored"], first["gone"], first["problems"]) == (1, True, [])
    assert (second["stored"], second["gone"]) == (0, False)
    assert "namespace" in second["problems"][0] or "labels" in second["problems"][0]
    assert [item["sequence"] for item in world.json("parked", "list")] == [2]
    (event,) = world.audit()
    assert (event.actor, event.reason, event.data["sequence"]) == ("ana", "parked_replayed", 1)
    assert [found["name"] for found in world.stored()] == ["KubePodCrashLooping"]


def test_replaying_twice_stores_nothing_twice(world: World) -> None:
    world.park(encoded({**GOOD, "startsAt": "2099-01-01T00:00:00Z"}))  # so it began when it was parked

    async def again() -> None:
        """As if the first replay had died before it removed the message."""
        from cortexops.cli import reprocess

        store = await PostgresStore.connect(world.dsn)
        async with (
            await JetStreamBus.connect(world.nats) as bus,
            await Parking.connect(world.nats) as parking,
        ):
            message = await parking.message(1)
            assert message is not None
            identity, _, _ = await parking.extent()
            for _ in range(2):
                await reprocess.replay(message, identity, bus, store, parking, "default", "ana")
        await store.close()

    world.do(again())
    assert world.messages() == 1
    assert len(world.audit()) == 1
    assert world.json("parked", "replay", "1", code=1)[0]["problems"] == [
        "sequence: there is no such message"
    ]


def test_all_of_a_reason_are_replayed_page_by_page(world: World) -> None:
    parked = [signal("Slow", object_name=f"api-{n}") for n in range(130)]
    world.park(
        *(one.model_dump_json().encode() for one in parked),
        source="unknown",
        reason=FateReason.KEEPS_FAILING,
    )
    world.park(b"not json", source="unknown", reason=FateReason.UNDECODABLE)
    done = world.json("parked", "replay", "--all", "--reason", "keeps_failing")
    assert len(done) == 130
    assert all(item["gone"] for item in done)
    assert {found["id"] for found in world.stored()} == {one.id for one in parked}
    assert [item["reason"] for item in world.json("parked", "list")] == ["undecodable"]


def test_a_payload_of_which_a_part_is_still_bad_stays_and_says_which_field(world: World) -> None:
    world.park(encoded(webhook(GOOD, NOWHERE)))
    for duplicates in (0, 1):  # the second time the stream has it
        (result,) = world.json("parked", "replay", "1", code=1)
        assert (result["stored"], result["duplicates"], result["gone"]) == (1, duplicates, False)
        assert result["problems"]
    assert world.messages() == 1


def test_a_body_that_was_cut_cannot_be_replayed_and_says_so(world: World) -> None:
    world.park(b"[" + b" " * 70_000, reason=FateReason.UNDECODABLE)
    (result,) = world.json("parked", "replay", "1", code=1)
    assert result["problems"] == ["body: only the first 65536 of 70001 bytes were kept"]


@pytest.mark.parametrize("source", ["grafana", "kubernetes", "signals"])
def test_one_item_of_a_payload_is_read_by_its_own_source(world: World, source: str) -> None:
    item: dict[str, Any] = {**GOOD, "fingerprint": "abc"}
    if source == "kubernetes":
        item = {
            "kind": "Event", "type": "Warning", "reason": "BackOff", "message": "back-off", "count": 9,
            "metadata": {"name": "e", "namespace": "shop", "creationTimestamp": "2026-03-01T12:00:00Z"},
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "api-1"},
        }  # fmt: skip
    if source == "signals":
        item = {
            "cluster": "test",
            "name": "Slow",
            "resource": "Deployment/shop/api",
            "started_at": "2026-03-01T12:00:00Z",
        }

    async def work() -> None:
        async with await JetStreamBus.connect(world.nats) as bus:
            await refuse(bus, source, "test", [Rejection(0, "labels", "name nothing", encoded(item))])

    world.do(work())
    (result,) = world.json("parked", "replay", "1")
    assert (result["stored"], result["gone"]) == (1, True)


def test_dropping_asks_first_and_leaves_a_trace(world: World) -> None:
    world.park(b"rubbish", encoded(NOWHERE))
    world.run("parked", "drop", "1", typed="n\n", code=1)
    assert len(world.json("parked", "list")) == 2
    assert world.json("parked", "drop", "1", "9", "--yes", code=1) == {"dropped": [1], "absent": [9]}
    assert world.json("parked", "drop", "--all", "--yes") == {"dropped": [2], "absent": []}
    assert [(event.reason, event.data["sequence"]) for event in world.audit()] == [
        ("parked_dropped", 1),
        ("parked_dropped", 2),
    ]
    assert "rubbish" not in str(world.audit())


@pytest.mark.parametrize("arguments", [(), ("1", "--all"), ("1", "--reason", "no_target"), ("0",)])
def test_it_must_be_said_what_is_meant(world: World, arguments: tuple[str, ...]) -> None:
    world.run("parked", "replay", *arguments, code=2)
    world.run("parked", "drop", *arguments, code=2)


def test_a_database_that_is_away_stops_a_replay_before_it_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.park(encoded(GOOD))
    monkeypatch.setenv("CORTEXOPS_POSTGRES__DSN", "postgresql+psycopg://u@127.0.0.1:1/x")
    world.run("parked", "replay", "1", code=1)
    assert world.messages() == 0


def test_a_parked_signal_that_never_had_a_row_is_explained(world: World) -> None:
    lost = signal("Slow")
    world.park(lost.model_dump_json().encode(), source="unknown", reason=FateReason.KEEPS_FAILING)
    data = world.json("signals", "explain", lost.id[:8])
    assert (data["id"], data["fate"], data["reason"]) == (lost.id, "parked", "keeps_failing")
    assert (data["recorded_at"], data["parked"]["sequence"]) == (None, 1)
    assert "no row in the books" in world.run("signals", "explain", lost.id)
    assert "was not found" in CliRunner().invoke(app, ["signals", "explain", "feed"]).stderr
