"""`cortexops investigate`: a configured model helps, `--no-llm` asks none."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.cluster.server import SimulatedApiServer
from tests.investigation.test_collecting import seed
from tests.support.model import KEY, FakeModel, Mood

CLI = Path(sys.executable).parent / "cortexops"
ALERT = {
    "version": "4",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "KubePodCrashLooping", "namespace": "shop", "deployment": "api"},
            "annotations": {},
            "startsAt": "2026-08-14T03:00:00Z",
        }
    ],
}


@pytest.mark.parametrize(
    ("arguments", "mood", "calls", "used"),
    [((), Mood.GOOD, 5, True), (("--no-llm",), Mood.GOOD, 0, False), ((), Mood.FORBIDDEN, 1, False)],
    ids=["with the model", "--no-llm", "a wrong key"],
)
async def test_the_command_uses_the_model_unless_told_not_to(
    tmp_path: Path, arguments: tuple[str, ...], mood: Mood, calls: int, used: bool
) -> None:
    (tmp_path / "alert.json").write_text(json.dumps(ALERT), "utf-8")
    async with SimulatedApiServer() as server, FakeModel(mood) as model:
        seed(server)
        process = await asyncio.create_subprocess_exec(
            str(CLI), "investigate", "--alert", "alert.json", "--cluster", "test",
            "--kubeconfig", str(server.kubeconfig(tmp_path / "k")), "-o", "json", *arguments,
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=os.environ | {
                "CORTEXOPS_MODEL__BASE_URL": model.url, "CORTEXOPS_MODEL__NAME": "small",
                "CORTEXOPS_MODEL__API_KEY": KEY,
            },
        )  # fmt: skip
        out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    report: dict[str, Any] = json.loads(out)
    assert (len(model.requests), report["llm_used"]) == (calls, used)
    (incident,) = report["incidents"]
    assert ("model" in incident) is (calls > 0)
    assert incident["root_cause"]["category"] == "configmap_changed"
    assert KEY not in out.decode() + errors.decode()
