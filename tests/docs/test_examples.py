"""The examples of docs/extending.md are run: a plug-in is one file, and these files work."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from activities.actions import ACTIONS
from activities.analyzers import ANALYZERS
from activities.collectors import COLLECTORS
from activities.gathering import Gathering, Reads
from activities.notifiers import NOTIFIERS, build_notifiers
from cortexops.cli.rbac import writing_rules
from cortexops.domain.change import json_patch
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.errors import Rejected
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.incident import IncidentState
from cortexops.domain.message import Delivery, Message, MessageKind
from cortexops.domain.resource import KINDS
from cortexops.domain.signal import Severity, SignalStatus
from cortexops.settings import Settings
from ingest.sources import SOURCES
from tests.investigation.objects import NOW, deployment, pod, ref, replica_set, running, scene

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```python\n# (\S+\.py)\n(.*?)```", re.DOTALL)
EXAMPLES: dict[str, str] = dict(BLOCK.findall((ROOT / "docs/extending.md").read_text("utf-8")))
REGISTRIES: tuple[Any, ...] = (ACTIONS, ANALYZERS, COLLECTORS, NOTIFIERS, SOURCES)


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Import an example under the name that it would have in its folder; forgotten afterwards."""
    before = [dict(registry.discover()._things) for registry in REGISTRIES]
    loaded: list[str] = []

    def load(path: str) -> None:
        file = tmp_path / Path(path).name
        file.write_text(EXAMPLES[path], "utf-8")
        name = path.removesuffix(".py").replace("/", ".")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)

    yield load
    for registry, things in zip(REGISTRIES, before, strict=True):
        registry._things.clear()
        registry._things.update(things)
    for name in loaded:
        del sys.modules[name]


def test_there_is_an_example_of_every_sort() -> None:
    folders = {str(Path(path).parent) for path in EXAMPLES}
    assert folders == {registry._package.replace(".", "/") for registry in REGISTRIES}
    assert not [path for path in EXAMPLES if (ROOT / path).exists()], "an example that exists is none"


@pytest.mark.parametrize("path", sorted(EXAMPLES))
def test_examples_are_written_as_our_own_code_is(path: str) -> None:
    ruff = str(Path(sys.executable).parent / "ruff")
    for command in ("check", "format --check"):
        done = subprocess.run(
            [ruff, *command.split(), "--quiet", "--stdin-filename", path, "-"],
            input=EXAMPLES[path],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"ruff {command}: {done.stdout}{done.stderr}"


def test_the_action_offers_and_prepares_a_change_that_can_be_undone(load: Callable[[str], None]) -> None:
    load("activities/actions/extend_deadline.py")
    live = deployment()
    target = ref("Deployment", live["metadata"]["name"])
    cause = Hypothesis(
        resource=target, category=Category.BAD_ROLLOUT, summary="x", support=Support(direct=1), confidence=0.9
    )
    diagnosis = Diagnosis(target=target, verdict=Verdict.ROOT_CAUSE, hypotheses=(cause,))
    (candidate,) = ACTIONS["extend_deadline"].propose(scene(target, live), diagnosis)
    assert candidate.feasible
    assert candidate.commands == (f"kubectl -n {target.namespace} edit deployment {target.name}",)
    prepared = ACTIONS["extend_deadline"].prepare(live, candidate.action, {}, NOW)
    assert {"op": "add", "path": "/spec/progressDeadlineSeconds", "value": 1200} in json_patch(
        prepared.change, live
    )
    live["spec"]["progressDeadlineSeconds"] = 3600
    assert not ACTIONS["extend_deadline"].propose(scene(target, live), diagnosis)
    with pytest.raises(Rejected, match="is not above 3600"):
        ACTIONS["extend_deadline"].prepare(live, candidate.action, {}, NOW)
    rules = [rule for rule in writing_rules() if rule["resources"] == ["deployments"]]
    assert {"get", "patch"} <= set(rules[0]["verbs"])


def test_the_analyzer_says_what_it_sees_and_nothing_else(load: Callable[[str], None]) -> None:
    load("activities/analyzers/evicted.py")
    live = deployment()
    template = live["spec"]["template"]
    owner = replica_set(live, 1, template, live["metadata"]["creationTimestamp"], 1)
    well = pod(owner, running())
    target = ref("Deployment", live["metadata"]["name"])
    assert not ANALYZERS["evicted"](scene(target, live, owner, well), EvidenceBook())
    out = pod(owner, running(), suffix="zz9pq")
    out["status"] = {"phase": "Failed", "reason": "Evicted"}
    book = EvidenceBook()
    (found,) = ANALYZERS["evicted"](scene(target, live, owner, well, out), book)
    assert found.resource.name == out["metadata"]["name"]
    assert found.evidence


async def test_the_collector_keeps_what_it_lists(load: Callable[[str], None], tmp_path: Path) -> None:
    from cortexops.adapters.kubernetes import KubernetesCluster
    from sandbox.cluster.kinds import BY_KIND
    from sandbox.cluster.server import SimulatedApiServer

    load("activities/collectors/service_accounts.py")
    async with SimulatedApiServer() as server:
        body = {"metadata": {"name": "builder", "namespace": "shop", "uid": "u1"}}
        server.store.put(BY_KIND["ServiceAccount"].key, "shop", "builder", body)
        client = await KubernetesCluster.connect("test", server.kubeconfig(tmp_path / "admin"))
        reads = Reads(client)
        gathering = Gathering(reads, ref("Deployment", "api"))
        gathering.roots.append(ref("Deployment", "api"))
        await COLLECTORS["service_accounts"].collect(gathering)
        await reads.close()
        await client.close()
    assert gathering.find(ref("ServiceAccount", "builder")) is not None
    assert "ServiceAccount" in KINDS


def test_the_source_turns_payloads_into_signals_and_names_what_is_wrong(load: Callable[[str], None]) -> None:
    load("ingest/sources/watchdog.py")
    source = SOURCES["watchdog"]
    payload = {"watchdog": "backup", "namespace": "db", "state": "missed", "since": "2026-01-02T03:04:05Z"}
    assert source.recognises(payload)
    assert not source.recognises({"alerts": []})
    now = datetime(2026, 1, 2, 4, tzinfo=UTC)
    (signal,) = source.parse(payload, cluster="eu-1", now=now).signals
    assert (signal.resource.key, signal.status) == ("eu-1:db:CronJob:backup", SignalStatus.FIRING)
    assert source.parse(payload, cluster="eu-1", now=now).signals[0].id == signal.id
    (over,) = source.parse({**payload, "state": "ok"}, cluster="eu-1", now=now).signals
    assert over.fingerprint == signal.fingerprint
    for wrong in ({"since": "yesterday"}, {"namespace": ""}, {"watchdog": "../etc"}, {"watchdog": ""}):
        result = source.parse({**payload, **wrong}, cluster="eu-1", now=now)
        assert not result.signals
        assert result.rejected[0].field


@pytest.mark.parametrize(
    ("status", "result"), [(200, Delivery.SENT), (503, Delivery.RETRY), (404, Delivery.REFUSED)]
)
async def test_the_notifier_answers_what_became_of_a_message_and_sends_no_secret(
    load: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, status: int, result: Delivery
) -> None:
    load("activities/notifiers/chat_webhook.py")
    assert "chat_webhook" not in build_notifiers(Settings())
    bodies: list[bytes] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    message = Message(
        key="k",
        kind=MessageKind.DETECTED,
        incident_id="INC-20260102-001",
        title="api crashes",
        severity=Severity.HIGH,
        state=IncidentState.DETECTED,
        text="password=hunter2hunter2 in its log",
        at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    with HTTPServer(("127.0.0.1", 0), Chat) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            monkeypatch.setenv("CHAT_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/secret")
            notifier = build_notifiers(Settings())["chat_webhook"]
            answer = await notifier.send(message, "")
            await notifier.close()
        finally:
            server.shutdown()
            serving.join()
    assert answer.result is result
    assert b"INC-20260102-001" in bodies[0]
    assert b"hunter2" not in bodies[0]
