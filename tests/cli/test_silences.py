"""Silences from the command line, on a real database and a real Temporal server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from typer.testing import CliRunner

from cortexops.adapters.postgres import PostgresStore
from cortexops.cli.main import app
from cortexops.contracts.incident import INCIDENT_WORKFLOW, LOOK_AGAIN, IncidentInput
from cortexops.domain.audit import PLATFORM, AuditEvent
from cortexops.domain.errors import PermanentError
from cortexops.domain.incident import Incident, IncidentState
from tests.support.engines import Database, RunningEngines
from tests.support.postgres import API, a_draft, a_signal, an_entry, moved

T = TypeVar("T")
NARROW = ("--namespace", "shop", "--reason", "moving the database")


class World:
    """One database and the command line on it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def run(self, *arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == code, f"{done.exit_code}: {done.output}"
        return done.stdout if code == 0 else done.output

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "-o", "json"))

    def on_store(self, work: Callable[[PostgresStore], Awaitable[T]]) -> T:
        async def inside() -> T:
            store = await PostgresStore.connect(self.dsn)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(inside())

    def audit(self) -> list[AuditEvent]:
        return [e for e in self.on_store(lambda store: store.events(PLATFORM)) if "silence" in e.reason]

    def opened(self, key: str = "k", run: str = "run-1", **changes: Any) -> Incident:
        now = datetime.now(UTC)
        draft = a_draft(key, run, detected_at=now, updated_at=now, **changes)
        return self.on_store(lambda store: store.open_incident(draft, [a_signal()], an_entry(PLATFORM)))


@pytest.fixture
def world(migrated_database: Database, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in ("CORTEXOPS_CONFIG", "CORTEXOPS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "ana")
    monkeypatch.setenv("CORTEXOPS_POSTGRES__DSN", migrated_database.dsn)
    monkeypatch.setenv("CORTEXOPS_TEMPORAL__ADDRESS", "127.0.0.1:1")
    return World(migrated_database.dsn)


def test_a_silence_is_added_listed_lifted_and_every_step_is_in_the_trail(world: World) -> None:
    assert "nothing is silenced" in world.run("silences", "list")
    added = world.json("silences", "add", *NARROW, "--minutes", "30", "--alert", "Pod*")
    assert (added["kind"], added["created_by"], added["reason"]) == ("silence", "ana", NARROW[-1])
    assert added["holds_until"] is not None
    listed = world.run("silences", "list")
    for text in (added["id"], "namespace=shop", "alert=Pod*", "until ", "moving the database"):
        assert text in listed
    lifted = world.json("silences", "lift", added["id"])
    assert (lifted["told"], lifted["complete"], lifted["holds_until"]) == (0, True, None)
    assert world.json("silences", "list") == []
    assert [s["id"] for s in world.json("silences", "list", "--all")] == [added["id"]]
    assert "lifted" in world.run("silences", "list", "--all")
    world.run("silences", "lift", added["id"])
    first, second = world.audit()
    assert [(e.reason, e.actor, e.data["via"]) for e in (first, second)] == [
        ("silence_added", "ana", "cli"),
        ("silence_lifted", "ana", "cli"),
    ]
    assert first.data["silence"]["matcher"]["namespace"] == "shop"


def test_a_weekly_maintenance_window_holds_only_within_it(world: World) -> None:
    now = datetime.now(UTC)
    yesterday = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(now.weekday() - 2) % 7]
    end = (now + timedelta(days=90)).isoformat()
    given = ("--until", end, "--maintenance", "--weekly", f"{yesterday}@22:00+90m", "--zone", "Europe/Berlin")
    added = world.json("silences", "add", *NARROW, *given)
    assert (added["kind"], added["holds_until"]) == ("maintenance", None)
    assert (added["weekly"]["start"], added["weekly"]["minutes"]) == ("22:00:00", 90)
    assert f"waits for {yesterday}@22:00+90m" in " ".join(world.run("silences", "list").split())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--namespace", "shop"), "--minutes"),
        (("--namespace", "shop", "--minutes", "5", "--until", "2099-01-01T00:00:00Z"), "--minutes"),
        (("--namespace", "shop", "--until", "tomorrow"), "--until"),
        (("--namespace", "shop", "--until", "2099-01-01T00:00:00"), "zone"),
        (("--namespace", "shop", "--until", "2020-01-01T00:00:00Z"), "must be after"),
        (("--namespace", "shop", "--minutes", "20000"), "7 days"),
        (("--namespace", "*", "--minutes", "5"), "matches too much"),
        (("--namespace", "x" * 64, "--minutes", "5"), "namespace"),
        (("--namespace", "shop", "--minutes", "5", "--zone", "UTC"), "--weekly"),
        (("--namespace", "shop", "--minutes", "5", "--weekly", "someday@22:00+5m"), "--weekly"),
        (("--namespace", "shop", "--minutes", "5", "--weekly", "mon@25:00+5m"), "--weekly"),
        (("--namespace", "shop", "--minutes", "5", "--weekly", "mon@22:00+0m"), "--weekly"),
        (("--namespace", "shop", "--minutes", "5", "--weekly", "mon@22:00+5m", "--zone", "Mars/X"), "zone"),
    ],
)
def test_what_may_not_be_silenced_is_refused_by_name(
    world: World, arguments: tuple[str, ...], named: str
) -> None:
    assert named in world.run("silences", "add", "--reason", "why", *arguments, code=2)
    assert not world.audit()


def test_a_silence_needs_a_reason_and_one_that_is_unknown_cannot_be_lifted(world: World) -> None:
    world.run("silences", "add", "--namespace", "shop", "--minutes", "5", code=2)
    assert "reason" in world.run(
        "silences", "add", "--namespace", "shop", "--minutes", "5", "--reason", " ", code=2
    )
    assert "was not found" in world.run("silences", "lift", "silence-0", code=1)
    assert not world.audit()


def test_a_hostile_reason_cannot_talk_to_the_terminal(world: World) -> None:
    world.run("silences", "add", "--namespace", "shop", "--minutes", "5", "--reason", "\x1b]0;owned\x07[red]")
    listed = world.run("silences", "list")
    assert "\x1b" not in listed
    assert "[red]" in listed


def test_after_a_lift_the_workflows_of_held_incidents_are_told_to_look_again(
    world: World, engines: RunningEngines, task_queue_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTEXOPS_TEMPORAL__ADDRESS", engines.temporal_address)
    key = f"{task_queue_prefix}incident"

    async def started() -> str:
        client = await Client.connect(engines.temporal_address, data_converter=pydantic_data_converter)
        handle = await client.start_workflow(
            INCIDENT_WORKFLOW,
            IncidentInput(resource=API),
            id=key,
            task_queue=f"{task_queue_prefix}none",
        )
        return str(handle.result_run_id)

    async def signals(run: str) -> list[str]:
        client = await Client.connect(engines.temporal_address, data_converter=pydantic_data_converter)
        handle = client.get_workflow_handle(key, run_id=run)
        names = [
            event.workflow_execution_signaled_event_attributes.signal_name
            async for event in handle.fetch_history_events()
            if event.HasField("workflow_execution_signaled_event_attributes")
        ]
        await handle.terminate()
        return names

    free = world.opened(f"{key}-free")
    silence = world.json("silences", "add", *NARROW, "--minutes", "30")
    run = asyncio.run(started())
    held, gone = world.opened(key, run), world.opened(f"{key}-gone", str(uuid4()))
    assert free.held_until is None
    assert held.held_until is not None
    assert gone.held_until is not None
    lifted = world.json("silences", "lift", silence["id"])
    assert (lifted["told"], lifted["complete"]) == (1, True)  # a workflow that has ended needs no telling
    assert asyncio.run(signals(run)) == [LOOK_AGAIN] * 2  # nobody worked on it, so it was still held


def test_temporal_that_is_away_does_not_keep_a_silence_from_being_lifted(world: World) -> None:
    silence = world.json("silences", "add", *NARROW, "--minutes", "30")
    world.opened()
    done = CliRunner().invoke(app, ["silences", "lift", silence["id"]])
    assert done.exit_code == 0
    assert "Lift it again" in done.stderr
    assert world.json("silences", "list") == []
    assert world.audit()[-1].reason == "silence_lifted"


def test_an_incident_says_that_it_is_held_merged_linked_or_flapping(world: World) -> None:
    cause = world.opened("cause", title="the cause")
    silence = world.json("silences", "add", *NARROW, "--minutes", "30")
    linked = [API.model_copy(update={"name": f"api-{n:02d}"}) for n in range(23)]

    async def change(store: PostgresStore) -> str:
        now = datetime.now(UTC)
        draft = a_draft("part", "run-2", detected_at=now, updated_at=now)
        held = await store.open_incident(draft, [a_signal()], an_entry(PLATFORM))
        special = held.model_copy(update={"linked": tuple(linked), "flapping": True})
        await store.update_incident(special, [])
        return held.id

    held = world.on_store(change)
    text = world.run("incidents", "show", held)
    for part in ("held until", silence["id"], "linked objects (23)", "and 3 more", "flapping"):
        assert part in text, part
    assert "api-20" not in text
    listed = world.run("incidents", "list")
    assert "held, flapping, +23 objects" in " ".join(listed.split())

    async def merge(store: PostgresStore) -> None:
        incident = await store.incident(held)
        if incident is None:
            raise PermanentError("it is gone")
        await store.update_incident(moved(incident, IncidentState.MERGED, merged_into="cause"), [])

    world.on_store(merge)
    shown = world.run("incidents", "show", held)
    assert f"merged into {cause.id}" in shown
    assert "held until" not in shown
    assert world.json("incidents", "show", held)["merged_into_id"] == cause.id
