"""Every byte that leaves is recorded while secrets are planted everywhere: not one of them is in it."""

# ruff: noqa: E501 - texts as they occur
from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.testing import ActivityEnvironment

from activities.actions import propose
from activities.investigation import InvestigationActivities
from activities.notifiers.slack import SlackNotifier
from activities.oneshot import investigate_payload
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.adapters.postgres.audit import cleaned
from cortexops.adapters.qdrant import QdrantMemory
from cortexops.contracts.investigation import InvestigateInput
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.case import Case, case_text
from cortexops.domain.correlation import title_of
from cortexops.domain.message import Delivery, MessageKind
from cortexops.domain.narrative import diagnosed_text
from cortexops.domain.report import render_markdown, render_slack, render_text
from cortexops.metrics import REDACTIONS
from cortexops.settings import SlackSettings
from cortexops.telemetry import configure_logging, get_logger
from ingest.decode import decode_file
from tests.evals.api import Api
from tests.evals.expand import Incident
from tests.evals.shapes import NOW
from tests.model.support import assistant_for, settings_for
from tests.safety.canaries import CANARIES, ENV_VALUE, EVENT_TOKEN, FORMATTED, URL_PASSWORD, found_in, planted
from tests.support.case import START, an_incident, tell
from tests.support.model import KEY, FakeModel
from tests.support.slack import BOT_TOKEN, fake_slack

CLUSTER = "eval"
CLI = Path(sys.executable).with_name("cortexops")


@pytest.fixture
def incident(tmp_path: Path) -> Incident:
    return planted(tmp_path / "careless")


@pytest.fixture
async def cluster(incident: Incident, tmp_path: Path) -> AsyncIterator[KubernetesCluster]:
    async with Api(incident.objects, incident.logs) as api:
        client = await KubernetesCluster.connect(CLUSTER, api.kubeconfig(tmp_path / "kubeconfig"))
        yield client
        await client.close()


def signals_of(incident: Incident) -> list[Any]:
    parsed = decode_file(json.dumps(incident.payload), "auto", CLUSTER, NOW)
    assert parsed.signals
    return list(parsed.signals)


def masked_so_far() -> float:
    return sum(s.value for m in REDACTIONS.collect() for s in m.samples if s.name.endswith("_total"))


def test_the_search_finds_every_canary_in_the_cluster(incident: Incident) -> None:
    everything = json.dumps([incident.objects, incident.payload, *incident.logs.values()])
    assert set(found_in(everything)) == set(CANARIES)


async def test_no_report_in_any_form_holds_a_secret(incident: Incident, cluster: KubernetesCluster) -> None:
    before = masked_so_far()
    report = await investigate_payload(cluster, signals_of(incident), NOW, propose)
    assert report["incidents"][0]["root_cause"]["resource"]["name"] == "till-env"
    for shown in (
        json.dumps(report),
        render_text(report),
        render_markdown(report),
        json.dumps(render_slack(report)),
    ):
        assert found_in(shown) == []
    assert "[redacted:" in json.dumps(report)
    assert masked_so_far() > before, "nothing was counted"


@pytest.mark.parametrize("hide_names", [True, False])
async def test_no_prompt_holds_a_secret(
    incident: Incident, cluster: KubernetesCluster, hide_names: bool
) -> None:
    async with FakeModel() as model:
        async with assistant_for(settings_for(model, hide_names=hide_names)) as assistant:
            report = await investigate_payload(
                cluster, signals_of(incident), NOW, propose, assistant=assistant
            )
        assert model.requests
        sent = json.dumps(model.requests, ensure_ascii=False)
    assert found_in(sent) == []
    assert KEY not in sent
    assert found_in(json.dumps(report)) == []


async def test_the_command_prints_no_secret(incident: Incident, tmp_path: Path) -> None:
    async with Api(incident.objects, incident.logs) as api:
        config = api.kubeconfig(tmp_path / "kubeconfig")
        process = await asyncio.create_subprocess_exec(
            str(CLI), "investigate", "--alert", "-", "--cluster", CLUSTER, "--kubeconfig", config, "--no-llm", "-o", "json",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path, env={key: value for key, value in os.environ.items() if not key.startswith("CORTEXOPS_")},
        )  # fmt: skip
        out, err = await process.communicate(json.dumps(incident.payload).encode())
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["incidents"][0]["root_cause"]["resource"]["name"] == "till-env"
    assert found_in(out) == []
    assert found_in(err) == []


class Books:
    """Keeps what the investigation stores."""

    def __init__(self) -> None:
        self.saved: list[Any] = []

    async def save_diagnosis(self, incident_id: str, diagnosis: Any) -> None:
        self.saved.append(diagnosis)

    async def diagnosis(self, incident_id: str) -> Any:
        return self.saved[-1]

    async def rows_of(self, incident_id: str) -> list[Any]:
        return []

    async def verified_changes(self, target: Any, *, most: int = 20) -> list[Any]:
        return []


async def test_an_incident_leaves_no_secret_in_books_memory_chat_or_logs(
    incident: Incident, cluster: KubernetesCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging("debug", "json")
    signals = signals_of(incident)
    books: Any = Books()
    memory = await QdrantMemory.connect(path=tmp_path / "memory")
    try:
        activities = InvestigationActivities({CLUSTER: cluster}, books, memory, propose, clock=lambda: NOW)
        question = InvestigateInput(
            incident_id="INC-1", target=signals[0].resource, environment="production", signals=tuple(signals)
        )
        found = await ActivityEnvironment().run(activities.investigate, question)
        assert found_in(found.model_dump_json()) == []
        assert found_in(books.saved[0].model_dump_json()) == []
        case = _case(found.diagnosis, signals)
        assert await ActivityEnvironment().run(activities.remember, case)
        recalled = await memory.recall(case.text, cluster=CLUSTER)
    finally:
        await memory.close()
    assert recalled
    assert found_in(recalled[0].case.model_dump_json()) == []
    stored = b"".join(path.read_bytes() for path in (tmp_path / "memory").rglob("*") if path.is_file())
    assert stored
    assert found_in(stored) == []
    text = diagnosed_text(found.diagnosis, found.candidates)
    assert found_in(await _chat(text, signals)) == []
    assert found_in(_audit(text, signals).model_dump_json()) == []
    out, err = capfd.readouterr()
    assert found_in(out + err) == []


def _case(diagnosis: Any, signals: list[Any]) -> Case:
    """As a workflow that knows no better makes it: with a title and an action that nobody has checked."""
    opened = an_incident(id="INC-1", title=f"{title_of(signals, signals[0].resource)}: password={ENV_VALUE}")
    return Case(
        incident_id="INC-1", cluster=CLUSTER, namespace="shop", kind="Deployment", name="till",
        category="configmap_changed", text=case_text(opened, diagnosis), action=f"set token={EVENT_TOKEN}",
        action_type="patch_config", outcome="RESOLVED", verified=True, at=NOW,
    )  # fmt: skip


async def _chat(text: str, signals: list[Any]) -> str:
    async with fake_slack() as slack:
        settings = SlackSettings(bot_token=SecretStr(BOT_TOKEN), channel="#incidents", api_url=slack.url)
        notifier = SlackNotifier(settings, url="http://console.test")
        try:
            opened = an_incident(id="INC-1", title=f"till cannot reach postgres://till:{URL_PASSWORD}@db/x")
            fields = {"log": f"cloning with {FORMATTED}", **signals[0].labels}
            sent = await notifier.send(tell(opened, MessageKind.DETECTED, text, 0, fields=fields), "")
            assert sent.result is Delivery.SENT
            sent = await notifier.send(
                tell(opened, MessageKind.DIAGNOSED, text, 1, fields=fields), sent.reference
            )
            assert sent.result is Delivery.SENT
        finally:
            await notifier.close()
        assert slack.calls
        return json.dumps([call.body for call in slack.calls], ensure_ascii=False)


def _audit(text: str, signals: list[Any]) -> AuditEntry:
    entry = AuditEntry(
        chain="INC-1",
        type=AuditType.POSTMORTEM,
        reason="diagnosed",
        detail=f"{text} with {FORMATTED} and postgres://a:{URL_PASSWORD}@b/c",
        at=START,
        data={
            "db_password": ENV_VALUE,
            "deep": [{"log": f"Bearer {EVENT_TOKEN}"}],
            "labels": signals[0].labels,
        },
        idempotency_key="1",
    )
    return cleaned(entry)


def test_no_log_line_holds_a_secret_whoever_writes_it(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    try:
        raise RuntimeError(f"cannot reach postgres://till:{URL_PASSWORD}@db")
    except RuntimeError as error:
        get_logger("ours").exception(
            "failed", token=EVENT_TOKEN, error=error, deep={"db_password": ENV_VALUE}
        )
        logging.getLogger("theirs").exception("failed with %s", FORMATTED)
        logging.getLogger("theirs").warning("and %r", {"password": ENV_VALUE})
    written = capfd.readouterr().err
    assert len(written.splitlines()) == 3
    assert found_in(written) == []
    assert all(json.loads(line)["event"] for line in written.splitlines())
