"""Incidents that ran on an earlier version must go on with this one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cortexops.cli.replay import replay_history
from tests.replay.record import FOLDER, STORIES


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
async def test_recorded_histories_replay(file: Path) -> None:
    assert await replay_history(file.stem, file.read_text(encoding="utf-8")) is None


def test_every_story_is_recorded() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} >= set(STORIES)


async def test_a_history_of_another_order_of_steps_is_noticed() -> None:
    history = json.loads((FOLDER / "resolved_after_approval.json").read_text(encoding="utf-8"))
    for event in history["events"]:
        attributes = event.get("activityTaskScheduledEventAttributes", {})
        if attributes.get("activityType", {}).get("name") == "dry_run":
            attributes["activityType"]["name"] = "apply"
    problem = await replay_history("changed", json.dumps(history))
    assert problem is not None
    assert "dry_run" in problem
