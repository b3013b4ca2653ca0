"""From the alert to the report: the command line, the activity, and a page, against an API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment
from typer.testing import CliRunner

from activities.actions import propose
from activities.investigation import InvestigationActivities
from activities.runbooks import URL_LABEL
from activities.runbooks.building import build_runbooks
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.cli.runbooks import app
from cortexops.domain.runbook_run import StepStatus
from cortexops.settings import RunbookSettings
from ingest.decode import decode_file
from sandbox.cluster.server import SimulatedApiServer
from tests.evals.api import Api
from tests.evals.run import load
from tests.investigation.objects import NOW
from tests.investigation.test_activity import Diagnoses, question
from tests.investigation.test_collecting import seed
from tests.runbooks.support import action, check, document, note, raw

CLI = Path(sys.executable).parent / "cortexops"
ALERT = {
    "status": "firing",
    "labels": {
        "alertname": "KubePodCrashLooping",
        "namespace": "shop",
        "pod": "api-1",
        "severity": "warning",
    },
    "annotations": {"runbook_url": "https://wiki.example.com/x"},
    "startsAt": "2026-03-10T13:20:00Z",
}


def run(*arguments: str, cwd: Path, code: int) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CORTEXOPS_")}
    done = subprocess.run(
        [str(CLI), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def told_by(*arguments: str, code: int) -> str:
    """The same in this process: each start of the program costs a second."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for key in list(os.environ):
        if key.startswith("CORTEXOPS_"):
            monkeypatch.delenv(key)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_show_and_match_answer_people_and_programs(here: Path) -> None:
    (here / "alert.json").write_text(json.dumps({"alerts": [ALERT]}))
    listed = json.loads(told_by("list", "-o", "json", code=0))
    assert len(listed["runbooks"]) >= 8 and not listed["problems"]
    shown = json.loads(told_by("show", "kube-job-failed", "-o", "json", code=0))
    assert [step["id"] for step in shown["steps"]][-1] == "look"
    told_by("show", "none-such", code=1)
    (told,) = json.loads(told_by("match", "--alert", "alert.json", "-o", "json", code=0))
    assert told["runbook"] == "kube-pod-crash-looping" and len(told["considered"]) >= 8
    assert "is not KubeJobFailed" in told_by("match", "--alert", "alert.json", code=0)
    other = {"alerts": [{**ALERT, "labels": {**ALERT["labels"], "alertname": "Strange"}}]}  # type: ignore[dict-item]
    (here / "other.json").write_text(json.dumps(other))
    told_by("match", "--alert", "other.json", code=1)
    told_by("match", "--alert", "absent.json", code=2)
    told_by("match", "--alert", "alert.json", "--category", "bad_luck", code=2)


def test_check_names_step_and_field_and_exits_as_promised(here: Path) -> None:
    (here / "good.yaml").write_bytes(raw())
    (here / "bad.yaml").write_bytes(raw(check(colour="\x1b[31mred"), id="bad"))
    told_by("check", "good.yaml", code=0)
    told = json.loads(told_by("check", "bad.yaml", "-o", "json", code=1))
    assert told["problems"][0] | {"message": ""} == {
        "file": "bad.yaml", "step": "ready", "field": "colour", "message": "",
    }  # fmt: skip
    assert "\x1b" not in told_by("check", ".", code=1)
    told_by("check", "none.yaml", code=2)
    assert json.loads(told_by("list", "--path", ".", "-o", "json", code=1))["problems"]


def test_doctor_names_a_bad_runbook(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books/bad.yaml").write_text("x: [")
    (tmp_path / ".cortexops").mkdir()
    (tmp_path / ".cortexops/settings.yaml").write_text("runbooks: {path: books}")
    done = run("doctor", "-o", "json", cwd=tmp_path, code=1)
    (found,) = [finding for finding in json.loads(done.stdout) if finding["what"] == "runbooks"]
    assert not found["ok"] and "bad.yaml" in found["detail"]


def test_an_alerts_runbook_address_travels_with_its_signal() -> None:
    (found,) = decode_file(json.dumps({"alerts": [ALERT]}), "alertmanager", "prod", NOW).signals
    assert found.labels[URL_LABEL] == "https://wiki.example.com/x"
    plain = {key: value for key, value in ALERT.items() if key != "annotations"}
    (other,) = decode_file(json.dumps({"alerts": [plain]}), "alertmanager", "prod", NOW).signals
    assert other.fingerprint == found.fingerprint and URL_LABEL not in other.labels


async def test_the_activity_stores_the_run_and_offers_what_the_runbook_asks_for(tmp_path: Path) -> None:
    mine = document(
        check(object={"field": "/status/readyReplicas"}, expect={"at_least": 2}, output="ready"),
        action(),
        note(),
        match={"alerts": ["KubePod*"], "namespaces": ["shop"]},
    )
    (tmp_path / "mine.yaml").write_text(json.dumps(mine))
    store: Any = Diagnoses()
    async with SimulatedApiServer() as server:
        seed(server)
        async with await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "k")) as cluster:
            activities = InvestigationActivities(
                {"test": cluster},
                store,
                None,
                propose,
                clock=lambda: NOW,
                runbooks=build_runbooks(RunbookSettings(path=tmp_path, shipped=False)),
            )
            found = await ActivityEnvironment().run(activities.investigate, question())
    run_of = found.diagnosis.runbook
    assert run_of is not None and store.saved["INC-1"].runbook == run_of
    assert [step.status for step in run_of.steps] == [
        StepStatus.FAILED,
        StepStatus.PENDING,
        StepStatus.COMPLETED,
    ]
    assert run_of.steps[1].action in {candidate.action.hash for candidate in found.candidates}
    assert run_of.steps[0].evidence in {fact.id for fact in found.diagnosis.evidence}
    assert found.api_requests <= 25


@pytest.mark.parametrize("name", ["oom-limit-too-low", "config-bad-value", "pvc-filling-alert"])
async def test_one_shot_tells_the_same_cause_with_shipped_runbooks_for_no_more_than_two_requests(
    name: str, tmp_path: Path
) -> None:
    from activities.oneshot import investigate_payload

    incident = load(name)
    reports = []
    async with Api(incident.objects, incident.logs, **incident.server) as api:
        parsed = decode_file(json.dumps(incident.payload), "auto", "eval", NOW)
        for runbooks in (None, build_runbooks(RunbookSettings())):
            client = await KubernetesCluster.connect("eval", api.kubeconfig(tmp_path / "config"))
            try:
                reports.append(
                    await investigate_payload(client, parsed.signals, NOW, propose, runbooks=runbooks)
                )
            finally:
                await client.close()
    plain, ours = (report["incidents"][0] for report in reports)
    assert ours["root_cause"] == plain["root_cause"] and ours["verdict"] == plain["verdict"]
    assert reports[1]["api_requests"] <= reports[0]["api_requests"] + 2
    assert "runbook" not in plain and all(step["status"] for step in ours.get("runbook", {}).get("steps", []))


def test_investigate_takes_a_folder_of_runbooks(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books/mine.yaml").write_bytes(
        raw(match={"alerts": ["KubePodCrashLooping"], "namespaces": ["shop"]})
    )
    (tmp_path / "alert.json").write_text(json.dumps({"alerts": [ALERT]}))
    (tmp_path / "kubeconfig").write_text(
        json.dumps(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "x", "users": [{"name": "x", "user": {}}],
                "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
                "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            }
        )
    )  # fmt: skip
    done = run(
        "investigate", "--alert", "alert.json", "--kubeconfig", "kubeconfig", "--runbooks", "books",
        "--no-llm", "-o", "json",        cwd=tmp_path, code=0,
    )  # fmt: skip
    told = json.loads(done.stdout)["incidents"][0]["runbook"]
    assert told["id"] == "mine" and told["link"] == "https://wiki.example.com/x"
