"""Stops, levels, explanations and replays from the command line, on a real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from typer.testing import CliRunner

from cortexops.adapters.policy import shipped_bundle
from cortexops.adapters.policy_regorus import RegorusPolicy
from cortexops.adapters.postgres import PostgresStore
from cortexops.cli.main import app
from cortexops.domain.audit import PLATFORM, AuditEvent
from cortexops.domain.autonomy import Ladder, Level
from cortexops.domain.guardrails import Guardrails
from cortexops.domain.ledger import LedgerState
from cortexops.domain.policy import Effect
from tests.autonomy.support import NOW, a_note, a_stop, ask, changed
from tests.policies.support import POLICIES, opa_arguments, opa_binary, opa_server, question
from tests.support.engines import Database
from tests.support.postgres import opened

T = TypeVar("T")
AUTO = Guardrails(ladder=Ladder(default=Level.AUTO))


class World:
    """One database and the command line on it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def run(self, *arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == code, f"{done.exit_code}: {done.output}"
        return done.stdout if code == 0 else done.output

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "-o", "json", code=code))

    def on_store(self, work: Callable[[PostgresStore], Awaitable[T]]) -> T:
        async def inside() -> T:
            store = await PostgresStore.connect(self.dsn)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(inside())

    def trail(self) -> list[tuple[str, str]]:
        def told(event: AuditEvent) -> tuple[str, str]:
            return event.reason, event.actor

        found = self.on_store(lambda store: store.events(PLATFORM))
        return [told(event) for event in found if event.type == "control_changed"]

    def decided(self, *questions: dict[str, Any]) -> list[str]:
        """Decisions of the shipped pack, one incident each, as the worker records them."""

        async def work(store: PostgresStore) -> list[str]:
            policy = RegorusPolicy(shipped_bundle())
            ids = []
            try:
                for number, changes in enumerate(questions):
                    incident = await opened(store, f"replay-{number}")
                    rails = changes.pop("rails", AUTO)
                    await ask(store, incident, policy, rails, **changes)
                    ids.append(incident.id)
            finally:
                await policy.close()
            return ids

        return self.on_store(work)


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture
def world(migrated_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    for name in ("CORTEXOPS_CONFIG", "CORTEXOPS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOGNAME", "ana")
    monkeypatch.setenv("CORTEXOPS_POSTGRES__DSN", migrated_database.dsn)
    return World(migrated_database.dsn)


def test_a_stop_is_set_listed_and_taken_back_and_every_step_is_in_the_trail(world: World) -> None:
    assert "nothing is stopped" in world.run("stops")
    made = world.json("stop", "--namespace", "shop", "--action", "delete_pod", "--reason", "it ran wild")
    assert (made["scope"], made["stopped_by"], made["until"]) == (
        {"cluster": "", "namespace": "shop", "action": "delete_pod"},
        "ana",
        None,
    )
    everything = world.json("stop", "--all", "--reason", "game day", "--minutes", "5")
    listed = world.run("stops")
    for text in ("namespace=shop, action=delete_pod", "everything", "until somebody resumes", "it ran wild"):
        assert text in listed
    assert "is taken back" in world.run("resume", made["id"])
    assert [one["id"] for one in world.json("resume", "--all")] == [everything["id"]]
    assert "nothing is stopped" in world.run("stops")
    assert [one["in_force"] for one in world.json("stops", "--all")] == [False, False]
    assert world.trail() == [("stop_added", "ana")] * 2 + [("stop_resumed", "ana")] * 2


def test_a_stop_says_what_it_covers_and_why(world: World) -> None:
    assert "--all" in world.run("stop", "--reason", "x", code=2)
    assert "--all" in world.run("stop", "--reason", "x", "--all", "--cluster", "east", code=2)
    assert "reason" in world.run("stop", "--reason", " ", "--all", code=2)
    assert "was not found" in world.run("resume", "stop-0", code=1)
    assert "nothing is stopped" in world.run("resume", "--all", code=1)
    assert "name a stop" in world.run("resume", code=2)


def test_levels_are_seen_explained_set_and_cleared(world: World) -> None:
    assert "no action has a past yet" in world.run("autonomy", "list")

    async def past(store: PostgresStore) -> None:
        for number in range(11):
            await changed(
                store,
                f"k{number}",
                LedgerState.APPLIED,
                LedgerState.VERIFIED,
                at=NOW - timedelta(hours=number),
            )

    world.on_store(past)
    (level,) = world.json("autonomy", "list")["levels"]
    assert (level["level"], level["why"], level["successes"]) == ("auto", "promoted", 11)
    about = ("rollback_rollout", "Deployment/api", "--cluster", "east", "--namespace", "shop")
    assert "auto (promoted)" in world.run("autonomy", "explain", *about)
    made = world.json("autonomy", "set", "observe", "--reason", "new team", "--namespace", "shop")
    said = world.json("autonomy", "explain", *about)
    assert (said["level"], said["why"], said["set_by"]) == ("observe", "override", "ana")
    assert "ana set observe" in " ".join(said["explanation"])
    assert made["id"] in world.run("autonomy", "list")
    world.run("autonomy", "clear", made["id"])
    assert world.json("autonomy", "explain", *about)["level"] == "auto"
    assert "workload" in world.run("autonomy", "explain", "x", "api", "--cluster", "c", code=2)
    assert world.json("autonomy", "explain", "x", "Deployment/y", "--cluster", "c")["level"] == "approve"
    assert world.trail() == [("autonomy_set", "ana"), ("autonomy_cleared", "ana")]


def test_a_decision_is_explained_from_what_was_recorded(world: World) -> None:
    (asked,) = world.decided({"environment": "production", "risk": "high"})
    text = world.run("policy", "explain", asked)
    for part in (
        "require_approval",
        "production_high_risk",
        "risk.rego:",
        'input.risk = "high"',
        "2 of oncall",
    ):
        assert part in text
    assert "no decision of" in world.run("policy", "explain", "INC-20260101-999", code=1)
    assert "name an incident" in world.run("policy", "explain", code=2)


def test_a_denial_by_the_product_is_said_to_be_one(world: World) -> None:
    world.on_store(lambda store: store.add_stop(a_stop(), a_note()))
    (asked,) = world.decided({})
    text = world.run("policy", "explain", asked, code=1)
    assert "decided by the product itself (rule kill_switch)" in text
    assert "stopped_by_person" in text


def test_a_question_in_a_file_is_explained_and_a_wrong_one_refused(world: World, tmp_path: Path) -> None:
    file = tmp_path / "question.json"
    file.write_text(json.dumps(question(attempt=6).document()))
    found = world.json("policy", "explain", "--input", str(file), code=1)
    assert found["decision"]["reasons"] == ["attempts_exhausted"]
    file.write_text(json.dumps({**question().document(), "risk": "none"}))
    assert "risk" in world.run("policy", "explain", "--input", str(file), code=2)


@pytest.fixture
def stricter(tmp_path: Path) -> Path:
    """The shipped pack with another limit of attempts and no freedom outside production."""
    folder = tmp_path / "stricter"
    folder.mkdir()
    for name, text in shipped_bundle().files.items():
        (folder / name).write_text(text)
    data = json.loads(json.dumps(shipped_bundle().data))
    data["cortexops"]["config"]["attempts"]["most"] = 1
    (folder / "data.json").write_text(json.dumps(data))
    return folder


QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"attempt": 2},
    {"attempt": 6},
    {"environment": "production"},
    {"environment": "production", "attempt": 2},
)


def test_a_replay_lists_what_another_bundle_would_have_decided(world: World, stricter: Path) -> None:
    ids = world.decided(*(dict(changes) for changes in QUESTIONS))
    same = world.json("policy", "replay", "--fail-on-change")
    assert (same["asked"], same["differences"], same["changed"]) == (5, [], False)
    found = world.json("policy", "replay", "--bundle", str(stricter), "--fail-on-change", code=1)
    assert [one["incident_id"] for one in found["differences"]] == [ids[1], ids[4]]
    assert found["effects"] == {"allow → deny": 1, "require_approval → deny": 1}
    first = found["differences"][0]
    assert (first["then"]["effect"], first["now"]["reasons"]) == ("allow", ["attempts_exhausted"])
    text = world.run("policy", "replay", "--bundle", str(stricter))
    assert "allow → deny: 1" in text
    assert "5 decisions asked again, 2 would be another, 0 cannot be asked again" in text
    assert "no decision would be another" in world.run("policy", "replay", "--since", "2999-01-01T00:00:00Z")
    assert "--since" in world.run("policy", "replay", "--since", "soon", code=2)


@pytest.mark.opa
def test_both_engines_replay_alike(world: World, stricter: Path) -> None:
    world.decided(*(dict(changes) for changes in QUESTIONS))
    on_regorus = world.json("policy", "replay", "--bundle", str(stricter))
    with opa_server(opa_binary(), *opa_arguments(stricter)) as url:
        assert world.json("policy", "replay", "--opa-url", url) == on_regorus
    with opa_server(opa_binary(), *opa_arguments(POLICIES)) as url:
        assert world.json("policy", "replay", "--opa-url", url)["differences"] == []


def test_what_the_product_denied_itself_is_replayed_by_what_the_bundle_said(world: World) -> None:
    world.on_store(lambda store: store.add_stop(a_stop(namespace="pay"), a_note()))
    world.decided({"rails": Guardrails(ladder=Ladder(shadow=True))})
    assert world.json("policy", "replay")["differences"] == []


def test_a_suggestion_that_nobody_can_compare_is_unknown(world: World) -> None:
    (asked,) = world.decided({"rails": Guardrails(ladder=Ladder(shadow=True))})
    found = world.json("autonomy", "shadow-report")
    assert found["counts"] == {"same": 0, "other": 0, "nothing": 0, "unknown": 1}
    (one,) = found["suggestions"]
    assert (one["suggestion"]["incident_id"], one["suggestion"]["effect"]) == (asked, Effect.DENY)
    assert "no cluster east is configured" in world.run("autonomy", "shadow-report")
