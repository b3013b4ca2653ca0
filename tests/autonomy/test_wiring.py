"""The processes have the guards: what is built is what is tested."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from activities.guarded import GuardedRemediation
from cortexops.adapters.guardrails import guardrails
from cortexops.adapters.policy import shipped_bundle
from cortexops.adapters.policy_reload import ReloadingPolicy
from cortexops.cli import doctor
from cortexops.domain.audit import PLATFORM
from cortexops.domain.autonomy import Level
from cortexops.domain.errors import InvalidInput
from cortexops.settings import Settings, load_settings
from tests.support.engines import Database
from workers.wiring import Wiring


def settings(**sections: Any) -> Settings:
    return load_settings(**sections)


def test_settings_become_ladder_limits_and_freezes() -> None:
    rails = guardrails(
        settings(
            autonomy={"highest": {"production": "approve"}, "start": {"staging": "auto"}, "auto_trials": 20},
            limits={"remediations": 1},
            policy={
                "freezes": [{"name": "x", "start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}]
            },
        )
    )
    assert rails.ladder.cap_of("production") is Level.APPROVE
    assert (rails.ladder.start_of("staging"), rails.ladder.start_of("dev")) == (Level.AUTO, Level.APPROVE)
    assert (rails.ladder.auto.trials, rails.limits.at_once, rails.limits.queued) == (20, 1, 10)
    assert rails.freezes[0].start == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_freeze_without_an_end_after_its_start_is_refused() -> None:
    freeze = {"name": "x", "start": "2026-01-02T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
    with pytest.raises(InvalidInput, match="end must be after start"):
        settings(policy={"freezes": [freeze]})
    with pytest.raises(InvalidInput, match="freezes"):
        settings(policy={"freezes": [{**freeze, "end": "2026-01-03T00:00:00"}]})


async def test_workers_remediate_behind_the_guards_and_follow_the_bundle(
    migrated_database: Database,
) -> None:
    configured = settings(postgres={"dsn": migrated_database.dsn})
    async with Wiring(configured, "test") as wiring:
        assert isinstance(await wiring.remediation(), GuardedRemediation)
        assert isinstance(await wiring.policy(), ReloadingPolicy)
        await wiring._note_revision("regorus", "r9")
        events = await (await wiring.store()).events(PLATFORM)
    assert [(e.reason, e.data["revision"]) for e in events] == [("policy_revision", "r9")]


def test_doctor_tells_of_a_bundle_that_workers_would_refuse(tmp_path: Path) -> None:
    for name, text in shipped_bundle().modules.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "wrong_test.rego").write_text("package cortexops_test\n\ntest_wrong if false\n")
    found = doctor._unproven_bundle(settings(policy={"path": tmp_path}))
    assert found is not None
    assert "test_wrong failed" in found
    assert doctor._unproven_bundle(settings()) is None
