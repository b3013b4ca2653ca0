"""`cortexops terminate`: what the sweeper would do later, done at once."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from cortexops.adapters.git_forge import GitForge
from cortexops.cli import terminate
from cortexops.cli.terminate import stop_incident
from cortexops.contracts.investigation import Investigated
from cortexops.domain.approval import ApprovalState
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import NotFound
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.policy import Effect
from cortexops.settings import Settings
from cortexops.settings_git import GitSettings, RepositorySettings
from tests.git.support import MANIFEST, TOKEN, Requests, bare_repository, provider
from tests.remediation.test_pull_requests import MORE, OWNED
from tests.support.engines import Database, RunningEngines
from tests.support.story import a_candidate, a_diagnosis
from tests.sweep.play import Play, until


@pytest.fixture
def configured(
    play: Play,
    migrated_database: Database,
    engines: RunningEngines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """The settings of an operator's machine that can read the cluster."""
    found = Settings.model_validate(
        {
            "postgres": {"dsn": migrated_database.dsn},
            "temporal": {"address": engines.temporal_address},
            "clusters": [{"name": play.stage.writer.name, "kubeconfig": str(tmp_path / "admin")}],
            "sweep": {"grace_seconds": 0},
        }
    )
    monkeypatch.setattr(terminate, "settings", lambda: found)
    return found


def cut_off(configured: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the machine cannot reach the cluster."""
    nowhere = yaml.safe_load((tmp_path / "admin").read_text())
    nowhere["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "admin").write_text(yaml.safe_dump(nowhere))


async def test_terminating_leaves_a_consistent_world_at_once(play: Play, configured: Settings) -> None:
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    incident = await play.incident()
    (left,) = (await stop_incident(incident.id, "we do it by hand")).left
    assert left.state is LedgerState.APPLIED
    ended = await play.incident()
    assert (ended.state, ended.reason) == (IncidentState.ESCALATED, Reason.TERMINATED)
    events = await play.store.events(incident.id)
    (row,) = [event for event in events if event.type is AuditType.TERMINATED]
    assert (row.actor, row.detail) == (getpass.getuser(), "we do it by hand")
    assert row.inputs
    assert [e.type for e in events].count(AuditType.ORPHAN_FOUND) == 1
    again = (await stop_incident(incident.id, "again")).left
    assert [one.operation_id for one in again] == [left.operation_id]
    assert await play.store.events(incident.id) == events
    report = await play.sweep()
    assert incident.id not in report.orphans
    assert (await play.store.examine()).faults == []


async def test_terminating_voids_what_waits_for_people(play: Play, configured: Settings) -> None:
    play.effect = Effect.REQUIRE_APPROVAL
    await play.begin()
    await until(lambda: play.store.approvals(state=ApprovalState.PENDING))
    assert await stop_incident((await play.incident()).id, "wrong object") == ([], {})
    (void,) = await play.store.approvals()
    assert void.state is ApprovalState.VOID


async def test_without_a_way_to_the_cluster_the_sweeper_looks_later(
    play: Play, configured: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play.gate("before verify")
    await play.begin()
    await play.until_at("before verify")
    cut_off(configured, tmp_path, monkeypatch)
    incident = await play.incident()
    stopped = await stop_incident(incident.id, "stop")
    (left,) = stopped.left
    assert left.state is LedgerState.APPLIED
    assert stopped.told(left).endswith("; the sweeper asks again")
    assert (await play.incident()).state is IncidentState.ESCALATED
    report = await play.sweep()
    assert report.outcomes == {"in_place": 1}
    assert (await play.sweep()).orphans == ()


def git_of(play: Play, bare: Path, hub: Requests) -> GitSettings:
    repository = RepositorySettings(
        url=str(bare),
        namespaces=[play.stage.space],
        apps=["shop"],
        provider="github",
        project="shop/deploy",
        token=SecretStr(TOKEN),
        api_url=hub.url,
    )
    return GitSettings(repositories=[repository])


def uses(configured: Settings, git: GitSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's machine has these repositories in its settings."""
    monkeypatch.setattr(terminate, "settings", lambda: configured.model_copy(update={"git": git}))


async def proposed(play: Play, git: GitSettings) -> str:
    """A workflow that has just opened a pull request; its incident."""
    remedy = a_candidate("open_pull_request", remedy="adjust_resources", **MORE)
    action = remedy.action.model_copy(update={"target": play.stage.ref()})
    remedy = remedy.model_copy(update={"action": action})
    play.story.investigations = [Investigated(diagnosis=a_diagnosis(), candidates=(remedy,))]
    play.stage.activities.forge = GitForge(git)
    play.gate("before dry_run")
    play.gate("after apply")
    await play.begin()
    await play.until_at("before dry_run")
    await play.stage.edit(OWNED)
    play.gated.gates["before dry_run"].set()
    await play.until_at("after apply")
    return (await play.incident()).id


async def test_a_pull_request_that_is_left_behind_is_asked_after(
    play: Play, configured: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = bare_repository(tmp_path, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        git = git_of(play, bare, hub)
        uses(configured, git, monkeypatch)
        incident = await proposed(play, git)
        assert len(hub.made) == 1
        hub.made[0]["state"] = "closed"
        assert (await stop_incident(incident, "we do it by hand")).left == []
    (row,) = await play.store.rows_of(incident)
    assert row.state is LedgerState.COMPENSATED
    assert "was closed without being merged" in row.detail
    assert (await play.incident()).state is IncidentState.ESCALATED
    assert incident not in (await play.sweep()).orphans


async def test_a_pull_request_that_waits_for_people_is_named(
    play: Play, configured: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = bare_repository(tmp_path, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        git = git_of(play, bare, hub)
        uses(configured, git, monkeypatch)
        incident = await proposed(play, git)
        stopped = await stop_incident(incident, "we do it by hand")
    (left,) = stopped.left
    assert left.state is LedgerState.APPLIED
    assert "/shop/deploy/1 waits for a person to merge it" in stopped.told(left)


@pytest.mark.parametrize("how", ["the provider fails", "no repository is configured here"])
async def test_a_pull_request_that_cannot_be_asked_after_is_left_to_the_sweeper(
    play: Play, configured: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    bare = bare_repository(tmp_path, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        git = git_of(play, bare, hub)
        uses(configured, git, monkeypatch)
        incident = await proposed(play, git)
        if how == "the provider fails":
            hub.broken = 503
        else:
            uses(configured, GitSettings(), monkeypatch)
        (before,) = await play.store.rows_of(incident)
        stopped = await stop_incident(incident, "we do it by hand")
        assert stopped.left == [before]
        told = stopped.told(before)
        assert "Git or the cluster cannot be asked" in told and told.endswith("; the sweeper asks again")
        assert TOKEN not in told
        assert (await play.incident()).state is IncidentState.ESCALATED
        async with play.store._database.begin() as connection:  # two minutes later
            await connection.exec_driver_sql("UPDATE ledger SET swept_at = swept_at - interval '3 minutes'")
        assert len(await play.store.unswept(incident)) == 1
        hub.broken, hub.made[0]["state"] = None, "closed"
        uses(configured, git, monkeypatch)
        assert (await stop_incident(incident, "again")).left == []


async def test_an_unknown_incident_is_not_found(play: Play, configured: Settings) -> None:
    with pytest.raises(NotFound):
        await stop_incident("INC-20200101-001", "why not")
