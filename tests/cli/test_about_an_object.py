"""`cortexops investigate KIND/NAME`: a question without an alert."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cortexops.cli.investigate import signal_about
from cortexops.cli.main import app
from cortexops.domain.errors import InvalidInput
from tests.evals.api import Api
from tests.evals.run import load

CLI = Path(sys.executable).parent / "cortexops"


async def asked(incident: str, folder: Path, *arguments: str) -> dict[str, Any]:
    loaded = load(incident)
    async with Api(loaded.objects, loaded.logs, **loaded.server) as api:
        process = await asyncio.create_subprocess_exec(
            str(CLI), "investigate", *arguments, "--no-llm", "-o", "json",
            "--kubeconfig", api.kubeconfig(folder / "config"),
            cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    report: dict[str, Any] = json.loads(out)
    return report


async def test_a_sick_deployment_is_diagnosed_without_an_alert(tmp_path: Path) -> None:
    report = await asked("subpath-names-no-key", tmp_path, "deployment/relay", "-n", "shop")
    (incident,) = report["incidents"]
    assert incident["verdict"] == "root_cause"
    assert incident["root_cause"]["resource"]["name"] == "relay-conf"


async def test_a_well_one_is_called_healthy(tmp_path: Path) -> None:
    report = await asked("healthy-asleep-for-the-night", tmp_path, "deploy/preview-web", "-n", "staging-eu")
    assert [incident["verdict"] for incident in report["incidents"]] == ["healthy"]


async def test_one_that_is_not_there_is_unknown_and_said_so(tmp_path: Path) -> None:
    report = await asked("healthy-asleep-for-the-night", tmp_path, "svc/nobody", "-n", "staging-eu")
    assert [incident["verdict"] for incident in report["incidents"]] == ["unknown"]


@pytest.mark.parametrize(
    ("word", "kind"), [("no/n1", "Node"), ("StatefulSets/db", "StatefulSet"), ("cm/x", "ConfigMap")]
)
def test_kinds_are_named_as_kubectl_names_them(word: str, kind: str) -> None:
    resource = signal_about(word, "shop", "c1").resource
    assert resource.kind == kind
    assert resource.namespace == ("" if kind == "Node" else "shop")


@pytest.mark.parametrize("word", ["orders", "orders/", "/orders", "gizmo/orders", ""])
def test_anything_else_is_refused_with_the_form_that_is_wanted(word: str) -> None:
    with pytest.raises(InvalidInput, match="KIND/NAME"):
        signal_about(word, "shop", "c1")


@pytest.mark.parametrize("arguments", [[], ["pod/x", "--alert", "alert.json"]])
def test_either_an_object_or_a_file_is_named(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["investigate", *arguments])
    assert result.exit_code == 2
    assert "name either an object" in result.output
