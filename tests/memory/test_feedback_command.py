"""`cortexops feedback`: who says what of which incident, and what comes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from typer.testing import CliRunner

from cortexops.adapters.postgres import PostgresStore
from cortexops.cli.main import app
from tests.console.support import PEOPLE
from tests.support.case import ANA_TOKEN, BO_TOKEN, open_case
from tests.support.engines import Database

T = TypeVar("T")


class World:
    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.incident = self.on_store(open_case).id

    def run(self, *arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["feedback", *arguments])
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


@pytest.fixture
def world(migrated_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    file = tmp_path / "settings.yaml"
    people = [{**person, "roles": list(person["roles"])} for person in PEOPLE]
    file.write_text(yaml.safe_dump({"people": people, "postgres": {"dsn": migrated_database.dsn}}))
    monkeypatch.setenv("CORTEXOPS_CONFIG", str(file))
    monkeypatch.setenv("CORTEXOPS_TOKEN", ANA_TOKEN)
    return World(migrated_database.dsn)


def test_a_word_is_said_listed_has_an_effect_and_is_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no feedback" in world.run("list")
    assert "nothing is moved" in world.run("effect")
    said = world.json(
        world.incident, "incorrect", "--cause", "ConfigMap/shop/api-env", "--category", "configmap_changed",
        "--note", "the cache size; password=hunter22secret",
    )  # fmt: skip
    assert (said["person"], said["rating"], said["via"]) == ("ana", "incorrect", "token")
    assert "hunter22secret" not in json.dumps(said)
    listed = world.run("list")
    for text in (world.incident, "incorrect", "configmap_changed ConfigMap shop/api-env", "cache size"):
        assert text in listed
    lowered, raised = sorted(world.json("effect"), key=lambda a: a["by"])
    assert (lowered["by"], lowered["last"], lowered["category"]) == (-0.2, True, "oom_after_release")
    assert (raised["by"], raised["resource"]["name"]) == (0.1, "api-env")
    assert "-0.200, does not lead" in world.run("effect")
    monkeypatch.setenv("CORTEXOPS_TOKEN", BO_TOKEN)
    assert "no feedback of bo" in world.run("undo", world.incident, code=1)
    monkeypatch.setenv("CORTEXOPS_TOKEN", ANA_TOKEN)
    assert "taken back" in world.run("undo", world.incident)
    assert "no feedback" in world.run("list")
    assert len(world.json("list", "--all")) == 2
    assert world.json("effect") == []


def test_the_long_form_is_the_same(world: World) -> None:
    assert world.json("say", world.incident, "accurate")["rating"] == "accurate"


def test_an_unknown_incident_is_named(world: World) -> None:
    assert "INC-20990101-001 was not found" in world.run("INC-20990101-001", "accurate", code=1)
    assert "INC-20990101-001 was not found" in world.run("undo", "INC-20990101-001", code=1)


def test_what_is_typed_wrong_is_usage_and_lists_what_is_known(world: World) -> None:
    unknown = world.run(world.incident, "incorrect", "--category", "gremlins", code=2)
    assert "'gremlins' is not known" in unknown and "configmap_changed" in unknown
    assert "accurate, partial, incorrect" in world.run(world.incident, "bad", code=2)
    assert "KIND/NAMESPACE/NAME" in world.run(world.incident, "incorrect", "--cause", "Pod/x", code=2)
    world.run(world.incident, code=2)


def test_nobody_speaks_without_a_token(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CORTEXOPS_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.delenv("CORTEXOPS_TOKEN")
    assert "CORTEXOPS_TOKEN" in world.run(world.incident, "accurate", code=2)
    monkeypatch.setenv("CORTEXOPS_TOKEN", "guess")
    assert "belongs to nobody" in world.run(world.incident, "accurate", code=2)
