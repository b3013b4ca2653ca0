"""The main job through the real processes, asked and answered as people and programs do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from tests.e2e.conftest import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CLI = Path(sys.executable).parent / "cortexops"
KEY = "incident:sandbox:production:Deployment:payment-service"


def cli(running: Running, *arguments: str, code: int = 0) -> Any:
    """Run the console script on the running platform; its JSON, or its text where it prints none."""
    environment = {**os.environ, "CORTEXOPS_DATA_DIR": str(running.platform.data_dir)}
    done = subprocess.run(
        [str(CLI), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return done.stdout


def eventually(look: Callable[[], Any], within: float = 60) -> Any:
    """Looks once a second: a look by the command line takes as long on a busy machine."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(1)
    pytest.fail("did not happen in time")


@pytest.fixture(scope="module")
def alert(running: Running) -> dict[str, Any]:
    """A real payload for a workload that is really broken."""
    cluster = running.platform.cluster
    assert cluster is not None
    plan = running.call(cluster.play("oom-after-release"))

    async def payload() -> dict[str, Any]:
        return cluster.alert(plan)

    return running.call(payload())


def post(running: Running, alert: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{running.platform.gateway_url}/webhooks/alertmanager", json=alert, timeout=15)
    assert answer.status_code == 202
    return dict(answer.json())


def workflows(running: Running) -> list[Any]:
    async def look() -> list[Any]:
        client = await Client.connect(running.platform.engines.temporal_address)
        return [found async for found in client.list_workflows(f"WorkflowId = '{KEY}'")]

    return running.call(look())


def test_one_alert_starts_one_workflow_that_temporal_shows_and_ten_more_add_none(
    running: Running, alert: dict[str, Any]
) -> None:
    assert post(running, alert)["accepted"] == 1
    pending = eventually(lambda: cli(running, "approvals", "list", "--pending", "-o", "json"))
    (found,) = eventually(lambda: workflows(running))
    attributes = {key: value[0] for key, value in found.search_attributes.items()}
    assert attributes["CortexState"] == "APPROVAL_PENDING"
    assert attributes["CortexCluster"] == "sandbox"
    assert attributes["CortexNamespace"] == "production"
    assert attributes["CortexIncidentId"] == pending[0]["request"]["incident_id"]
    for _ in range(10):
        again = post(running, alert)
        assert (again["accepted"], again["duplicates"]) == (0, 1)
    assert len(workflows(running)) == 1
    incidents = cli(running, "incidents", "list", "-o", "json")
    assert len([i for i in incidents if i["key"] == KEY]) == 1


def test_approved_on_the_command_line_it_is_mended_and_every_step_is_recorded(running: Running) -> None:
    (pending,) = cli(running, "approvals", "list", "--pending", "-o", "json")
    request = pending["request"]
    assert {line["path"].rsplit("/", 1)[1] for line in request["diff"]} == {"memory"}
    result = cli(running, "approvals", "approve", request["id"], "--yes", "--reason", "seen", "-o", "json")
    assert result["state"] == "approved"
    incident_id = request["incident_id"]

    def ended() -> Any:
        shown = cli(running, "incidents", "show", incident_id, "-o", "json")
        return shown if shown["incident"]["ended_at"] else None

    shown = eventually(ended)
    assert shown["incident"]["state"] == "RESOLVED"
    assert [row["state"] for row in shown["ledger"]] == ["verified"]
    assert shown["diagnosis"]["hypotheses"][0]["category"] == "oom_after_release"
    types = [event["type"] for event in cli(running, "incidents", "timeline", incident_id, "-o", "json")]
    story = ["detected", "analyzed", "policy_decided", "dry_run", "approval_requested", "approval_vote"]
    story += [
        "approval_decided",
        "policy_decided",
        "intent",
        "action_executed",
        "verified",
        "resolved",
        "postmortem",
    ]
    assert [kind for kind in types if kind != "state_changed"] == story
    postmortem = cli(running, "incidents", "postmortem", incident_id, "-o", "json")
    assert postmortem["state"] == "Open"
    signal_id = shown["signals"][0]["id"]
    assert cli(running, "signals", "explain", signal_id, "-o", "json")["incident_id"] == incident_id
    assert cli(running, "audit", "verify", "-o", "json")["faults"] == []
    exported = [json.loads(line) for line in cli(running, "audit", "export").splitlines()]
    assert len(exported) >= len(story)
    assert "replayed" in cli(running, "replay", incident_id)


def test_what_was_ingested_equals_what_became_of_it(running: Running) -> None:
    def total(text: str, name: str) -> float:
        return sum(float(v) for v in re.findall(rf"^{name}{{[^}}]*}} ([0-9.e+]+)$", text, re.MULTILINE))

    def balanced() -> bool:
        urls = [url for service in running.platform.services.values() for url in service.urls.values()]
        texts = {url: httpx.get(f"{url}/metrics", timeout=10).text for url in urls}
        # Roles of one process share its registry: count each process once.
        firsts = [next(iter(service.urls.values())) for service in running.platform.services.values()]
        ingested = sum(total(texts[url], "cortexops_events_ingested_total") for url in firsts)
        fates = sum(total(texts[url], "cortexops_signal_fates_total") for url in firsts)
        return ingested == fates > 10

    assert eventually(balanced, 30)


def test_a_running_incident_can_be_terminated_and_says_so(running: Running) -> None:
    cluster = running.platform.cluster
    assert cluster is not None
    plan = running.call(cluster.play("bad-readiness-probe"))

    async def payload() -> dict[str, Any]:
        return cluster.alert(plan)

    post(running, running.call(payload()))
    (pending,) = eventually(lambda: cli(running, "approvals", "list", "--pending", "-o", "json"))
    incident_id = pending["request"]["incident_id"]
    assert cli(running, "terminate", incident_id, "--reason", "drill", "-o", "json")["half_done"] == []
    shown = cli(running, "incidents", "show", incident_id, "-o", "json")
    assert (shown["incident"]["state"], shown["incident"]["reason"]) == ("ESCALATED", "terminated_by_person")
    late = cli(running, "approvals", "approve", pending["request"]["id"], "--yes", code=1)
    assert late == ""
    assert shown["ledger"] == []


def test_unknown_things_exit_with_one_and_wrong_usage_with_two(running: Running) -> None:
    cli(running, "incidents", "show", "INC-20000101-001", code=1)
    cli(running, "signals", "explain", "nothing", code=1)
    cli(running, "investigate", "--alert", "/nowhere.json", code=2)
    cli(running, "replay", code=2)


def test_a_second_platform_on_the_same_folder_is_refused(running: Running) -> None:
    done = subprocess.run(
        [str(CLI), "up", "--data", str(running.platform.data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert str(os.getpid()) in done.stderr


def test_health_names_each_component(running: Running) -> None:
    body = httpx.get(f"{running.platform.console_url}/debug/healthz", timeout=10).json()
    assert {"postgres", "temporal"} <= set(body["components"])
    assert cli(running, "doctor", "-o", "json")
