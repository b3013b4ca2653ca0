"""Alerts that know only an address, at the command line: investigated, explained, replayed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cortexops.adapters.nats import JetStreamBus
from cortexops.adapters.nats.parking import Parking
from cortexops.cli.explaining import target_from
from cortexops.cli.main import app
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import FateReason, Signal
from cortexops.settings_ingest import NatsSettings
from ingest.accept import accept
from ingest.sources.alertmanager import Alertmanager
from ingest.targets import on_target
from sandbox.cluster.faults import Fault
from sandbox.cluster.kinds import BY_KIND
from sandbox.cluster.server import SimulatedApiServer
from sandbox.engines.nats import NatsEngine
from tests.ingest.addressed import NOW, addressed
from tests.ingest.support import alert, webhook
from tests.investigation.test_collecting import put, seed
from tests.support.engines import Database

CLI = Path(sys.executable).parent / "cortexops"
POD_IP, NODE_IP = "10.244.7.7", "10.0.7.7"


def signal_of(one: dict[str, Any]) -> Signal:
    (signal,) = Alertmanager().parse(webhook(one), cluster="test", now=NOW).signals
    return signal


def alerts(*instances: str) -> str:
    made = [
        {**addressed("OrdersSlow", instance, job="orders"), "fingerprint": instance} for instance in instances
    ]
    return json.dumps(webhook(*({**one, "startsAt": "2026-08-14T03:00:00Z"} for one in made)))


async def investigate(
    server: SimulatedApiServer, folder: Path, payload: str, *arguments: str
) -> tuple[int, str, str]:
    (folder / "alert.json").write_text(payload, "utf-8")
    process = await asyncio.create_subprocess_exec(
        str(CLI), "investigate", "--alert", "alert.json", "--cluster", "test", "--no-llm",
        "--kubeconfig", str(server.kubeconfig(folder / "k")), *arguments,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None and "Traceback" not in errors.decode()
    return process.returncode, out.decode(), errors.decode()


def with_addresses(server: SimulatedApiServer) -> None:
    """The crash-looping Deployment, whose pod and node say where they are."""
    bad = seed(server)
    stored = server.store.get(BY_KIND["Pod"].key, "shop", bad["metadata"]["name"])
    assert stored is not None
    put(server, {**bad, "metadata": stored["metadata"], "status": {**bad["status"], "podIP": POD_IP}})
    node = server.store.get(BY_KIND["Node"].key, "", "node-1")
    assert node is not None
    put(server, {**node, "kind": "Node", "status": {**node["status"], "addresses": [
        {"type": "InternalIP", "address": NODE_IP}]}})  # fmt: skip


async def test_an_address_is_investigated_as_the_workload_that_has_it(tmp_path: Path) -> None:
    async with SimulatedApiServer() as server:
        with_addresses(server)
        payload = alerts(f"{POD_IP}:8080", "10.9.9.9:80")
        code, out, errors = await investigate(server, tmp_path, payload, "-o", "json")
    assert code == 0, errors
    (incident,) = json.loads(out)["incidents"]
    assert incident["root_cause"]["category"] == "configmap_changed"
    assert "alert OrdersSlow: labels.instance: 10.9.9.9 is the address of no node, pod or Service" in errors


async def test_an_alert_without_a_name_about_a_node_is_investigated(tmp_path: Path) -> None:
    one = addressed("x", f"{NODE_IP}:9100", job="node-exporter", title="Disk nearly full")
    del one["labels"]["alertname"], one["startsAt"]
    async with SimulatedApiServer() as server:
        with_addresses(server)
        code, out, errors = await investigate(server, tmp_path, json.dumps(one), "-o", "json")
    assert code == 0, errors
    assert "node-1" in out and "Disk nearly full" in out


async def test_a_cluster_that_may_not_be_read_is_the_reason_given(tmp_path: Path) -> None:
    async with SimulatedApiServer() as server:
        with_addresses(server)
        server.faults.add(Fault(path="^/api/v1/nodes", status=403))
        code, _, errors = await investigate(server, tmp_path, alerts(f"{NODE_IP}:9100"))
    assert code == 2
    assert "Node objects could not be read" in errors and "whose object could be found" in errors


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"namespace": "shop", "deployment": "api"}, "label deployment"),
        ({"namespace": "shop", "exported_pod": "api-0", "pod": "ksm-0"}, "label pod"),
        ({"instance": "10.0.3.7:9100"}, "the address in label instance, of which no object is known"),
    ],
)
def test_explaining_says_where_the_object_comes_from(labels: dict[str, str], told: str) -> None:
    assert target_from(signal_of(alert("X", **labels))) == told


def test_explaining_says_whose_address_it_was() -> None:
    node = ResourceRef(cluster="test", kind="Node", name="node-7")
    one = on_target(
        signal_of(addressed("X", "10.0.3.7:9100")), node, "10.0.3.7 is the InternalIP of the node"
    )
    assert target_from(one) == "the address in label instance: 10.0.3.7 is the InternalIP of the node"


def test_a_parked_address_is_explained_and_not_lost_by_a_replay_that_comes_too_soon(
    migrated_database: Database, nats_server: NatsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    nats = NatsSettings(url=nats_server.endpoint.url, max_bytes=64 * 1024**2)
    monkeypatch.setenv("CORTEXOPS_NATS__URL", nats.url)
    monkeypatch.setenv("CORTEXOPS_POSTGRES__DSN", migrated_database.dsn)
    one = signal_of(addressed("OrdersSlow", "10.9.9.9:80"))

    async def prepare() -> None:
        async with await JetStreamBus.connect(nats) as bus:
            await accept(bus, [one])
            detail = "labels.instance: 10.9.9.9 is the address of no node, pod or Service (cluster test)"
            await bus.park(one.model_dump_json().encode(), FateReason.NO_TARGET, "unknown", detail)

    async def left() -> int:
        async with await Parking.connect(nats) as parking:
            return len(await parking.messages(most=10))

    asyncio.run(prepare())
    said = CliRunner().invoke(app, ["signals", "explain", one.id])
    assert "on Address 10.9.9.9:80" in said.stdout and "is the address of no node" in said.stdout
    done = CliRunner().invoke(app, ["parked", "replay", "1"])
    assert done.exit_code == 1 and "replay it then" in done.stdout
    assert asyncio.run(left()) == 1
