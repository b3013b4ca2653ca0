"""Incidents of the evaluation set with a hostile model: what stays, whatever it says.

All of them: `CORTEXOPS_ALL_EVALS=1 pytest tests/model/test_evals.py`.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from activities.actions import propose
from activities.oneshot import investigate_payload
from activities.reasoned import Assistant
from cortexops.adapters.kubernetes import KubernetesCluster
from ingest.decode import decode_file
from tests.evals.api import Api
from tests.evals.run import CLUSTER, FOLDERS, load
from tests.model.support import assistant_for, settings_for
from tests.support.model import FakeModel, Mood

EVERY = 1 if os.environ.get("CORTEXOPS_ALL_EVALS") else 12
_SURE = {"unknown": 0, "healthy": 0, "external": 1, "hypothesis": 1, "root_cause": 2}


async def investigated(
    name: str, folder: Path, assistant: Assistant
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The reports without the model and with it, of the same cluster at the same moment."""
    incident = load(name)
    async with Api(incident.objects, incident.logs, **incident.server) as api:
        now = datetime.now(UTC)
        parsed = decode_file(json.dumps(incident.payload), "auto", CLUSTER, now)
        client = await KubernetesCluster.connect(CLUSTER, api.kubeconfig(folder / "config"))
        try:
            plain = await investigate_payload(client, parsed.signals, now, propose)
            told = await investigate_payload(client, parsed.signals, now, propose, assistant=assistant)
        finally:
            await client.close()
    return plain, told


def key(resource: dict[str, str]) -> str:
    return f"{resource['kind']}/{resource['namespace']}/{resource['name']}"


def claimed(found: dict[str, Any]) -> tuple[str, str, str]:
    """What tells a hypothesis from all others of an incident."""
    return key(found["resource"]), found["category"], found["summary"]


def deeds(incident: dict[str, Any]) -> list[dict[str, Any]]:
    """What is recommended, without the caveats: those tell how sure the verdict is, which a model may lower."""
    return [
        {field: value for field, value in action.items() if field != "caveats"}
        for action in incident["recommended_actions"]
    ]


@pytest.mark.parametrize("name", [folder.name for folder in FOLDERS][::EVERY])
async def test_a_hostile_model_stays_within_its_bounds(name: str, tmp_path: Path) -> None:
    async with FakeModel(Mood.MALICIOUS) as model, assistant_for(settings_for(model)) as assistant:
        plain, told = await investigated(name, tmp_path, assistant)
    assert len(told["incidents"]) == len(plain["incidents"])
    for before in plain["incidents"]:
        (after,) = [each for each in told["incidents"] if each["key"] == before["key"]]
        assert set(after) - set(before) <= {"model"} and set(before) <= set(after)
        assert _SURE[after["verdict"]] <= _SURE[before["verdict"]]
        assert (after["root_cause"] is None) == (before["root_cause"] is None)
        known = {claimed(h): h["confidence"] for h in before["hypotheses"]}
        assert {claimed(h) for h in after["hypotheses"]} == set(known)
        if before["root_cause"] is None:
            continue
        lead, was = after["root_cause"], before["root_cause"]
        if before["verdict"] == "root_cause":
            assert key(lead["resource"]) == key(was["resource"])
        assert was["confidence"] - known[claimed(lead)] <= 0.15 + 1e-9
        for each in after["hypotheses"]:
            if key(each["resource"]) != key(was["resource"]):
                assert each["confidence"] <= 0.5
        if claimed(lead) == claimed(was):
            assert deeds(after) == deeds(before)
        else:
            assert after["verdict"] == "hypothesis" and key(lead["resource"]) == key(was["resource"])
