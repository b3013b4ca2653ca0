"""`cortexops terminate`: what the sweeper would do later, done at once."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest
import yaml

from cortexops.cli import terminate
from cortexops.cli.terminate import stop_incident
from cortexops.domain.approval import ApprovalState
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import NotFound
from cortexops.domain.incident import IncidentState, Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.policy import Effect
from cortexops.settings import Settings
from tests.support.engines import Database, RunningEngines
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
    (left,) = await stop_incident(incident.id, "we do it by hand")
    assert left.state is LedgerState.APPLIED
    ended = await play.incident()
    assert (ended.state, ended.reason) == (IncidentState.ESCALATED, Reason.TERMINATED)
    events = await play.store.events(incident.id)
    (row,) = [event for event in events if event.type is AuditType.TERMINATED]
    assert (row.actor, row.detail) == (getpass.getuser(), "we do it by hand")
    assert row.inputs
    assert [e.type for e in events].count(AuditType.ORPHAN_FOUND) == 1
    again = await stop_incident(incident.id, "again")
    assert [one.operation_id for one in again] == [left.operation_id]
    assert await play.store.events(incident.id) == events
    report = await play.sweep()
    assert incident.id not in report.orphans
    assert (await play.store.examine()).faults == []


async def test_terminating_voids_what_waits_for_people(play: Play, configured: Settings) -> None:
    play.effect = Effect.REQUIRE_APPROVAL
    await play.begin()
    await until(lambda: play.store.approvals(state=ApprovalState.PENDING))
    assert await stop_incident((await play.incident()).id, "wrong object") == []
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
    (left,) = await stop_incident(incident.id, "stop")
    assert left.state is LedgerState.APPLIED
    assert (await play.incident()).state is IncidentState.ESCALATED
    report = await play.sweep()
    assert report.outcomes == {"in_place": 1}
    assert (await play.sweep()).orphans == ()


async def test_an_unknown_incident_is_not_found(play: Play, configured: Settings) -> None:
    with pytest.raises(NotFound):
        await stop_incident("INC-20200101-001", "why not")
