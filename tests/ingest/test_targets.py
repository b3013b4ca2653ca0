"""Addresses looked up in a simulated cluster over its API, alone and on the way to an incident."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.adapters.nats import JetStreamBus
from cortexops.domain.signal import Signal
from cortexops.domain.targets import ADDRESS
from cortexops.ports.store import Store
from ingest import partition, targets
from ingest.app import create_gateway
from ingest.correlator import Correlator
from ingest.owners import OwnerResolver
from ingest.source import TARGET_LABEL, NoTarget
from ingest.sources.alertmanager import Alertmanager
from ingest.targets import TargetFinder
from sandbox.cluster.faults import Fault
from sandbox.cluster.server import SimulatedApiServer
from sandbox.engines.nats import NatsEngine
from tests.ingest.addressed import (
    API_IP,
    KSM_IP,
    NODE,
    NODE_IP,
    NOW,
    addressed,
    cluster,
    item,
    seed,
    workloads,
)
from tests.ingest.support import RecordingStarter, eventually, settings, since, totals, webhook
from tests.support.memory_store import MemoryStore

API = {
    "KubeDeployment": "incident:test:shop:Deployment:api",
    "Node": f"incident:test::Node:{NODE}",
}


@pytest.fixture
async def server() -> AsyncIterator[SimulatedApiServer]:
    async with SimulatedApiServer() as running:
        seed(running, [*workloads(), *cluster()])
        yield running


@pytest.fixture
async def client(server: SimulatedApiServer, tmp_path: Path) -> AsyncIterator[KubernetesCluster]:
    config = server.kubeconfig(tmp_path / "admin.yaml")
    connected = await KubernetesCluster.connect("test", config, request_timeout=5)
    async with connected:
        yield connected


def signals(*alerts: dict[str, Any]) -> list[Signal]:
    return Alertmanager().parse(webhook(*alerts), cluster="test", now=NOW).signals


def one(instance: str, name: str = "SomethingIsSlow", **labels: str) -> Signal:
    (signal,) = signals(addressed(name, instance, **labels))
    return signal


async def told(finder: TargetFinder, signal: Signal) -> str:
    with pytest.raises(NoTarget) as raised:
        await finder.find(signal)
    return str(raised.value)


async def test_many_addresses_cost_one_list_of_each_kind(client: KubernetesCluster) -> None:
    finder = TargetFinder({"test": client})
    many = [one(f"{ip}:{port}") for ip in (API_IP, "10.244.9.9", "10.244.1.62") for port in range(8000, 8100)]
    await finder.find(one(f"{NODE_IP}:9100", job="node"))
    before = client.requests
    first, rest = await asyncio.gather(finder.found(many), finder.found(many))
    assert {str(found.resource) for found in first[0]} == {"Pod shop/api-7d9f8b6c5d-x2z4k"}
    assert (len(first[0]), len(first[1])) == (100, 200) and len(rest[1]) == 200
    assert client.requests - before == 2, "Pods and Services; Nodes are known, absence as well"


async def test_ids_and_series_stay_and_a_label_says_how_it_was_found(client: KubernetesCluster) -> None:
    signal = one(f"{NODE_IP}:9100", "NodeDown", job="node")
    found = await TargetFinder({"test": client}).find(signal)
    assert (found.id, found.fingerprint) == (signal.id, signal.fingerprint)
    assert str(found.resource) == f"Node {NODE}"
    assert found.labels == {**signal.labels, TARGET_LABEL: f"{NODE_IP} is the InternalIP of the node"}
    named = found.model_copy(update={"labels": signal.labels})
    assert await TargetFinder({}).find(named) is named, "what names an object is not looked up"


async def test_a_cluster_without_the_gateway_api_has_no_routes_and_that_is_known(
    client: KubernetesCluster,
) -> None:
    finder = TargetFinder({"test": client})
    found = await finder.find(one("https://shop.example.com/healthz", "EndpointDown", job="blackbox"))
    assert str(found.resource) == "Ingress shop/shop"
    said = await told(finder, one("https://else.example.com/", "EndpointDown", job="blackbox"))
    assert said.endswith("the host of no Ingress or HTTPRoute (cluster test)"), said


async def test_kube_state_metrics_is_not_blamed_for_what_it_tells(client: KubernetesCluster) -> None:
    said = await told(TargetFinder({"test": client}), one(f"{KSM_IP}:8080", job="metrics", namespace="shop"))
    assert "Pod monitoring/ksm-0" not in said and "monitoring/ksm-0, an exporter that tells of other" in said


async def test_a_cluster_that_forbids_fails_or_hangs_leaves_the_reason_and_is_not_asked_again_at_once(
    server: SimulatedApiServer, client: KubernetesCluster
) -> None:
    finder = TargetFinder({"test": client})
    server.faults.add(Fault(path="^/api/v1/nodes$", status=403))
    said = await told(finder, one(f"{NODE_IP}:9100", job="node"))
    assert said.startswith("labels.instance: ") and "Node objects could not be read" in said
    assert str((await finder.find(one(f"{API_IP}:8080"))).resource) == "Pod shop/api-7d9f8b6c5d-x2z4k"

    server.faults.clear()
    server.faults.add(Fault(path=".*", hang=True))
    hanging = TargetFinder({"test": client}, timeout=0.2)
    before = client.requests
    for port in range(5):
        said = await told(hanging, one(f"{API_IP}:{8000 + port}"))
        assert "did not come within 0.2 s" in said and "does not answer" in said
    assert client.requests == before + 1


async def test_a_cluster_that_is_not_configured_is_named() -> None:
    said = await told(TargetFinder({}), one(f"{NODE_IP}:9100", job="node"))
    assert (
        said == "labels.instance: 10.0.3.7:9100 could not be looked up: cluster test is not configured here"
    )


async def test_what_was_not_found_is_looked_for_again_after_a_while(
    server: SimulatedApiServer, client: KubernetesCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_TTL", 0.0)
    finder = TargetFinder({"test": client})
    late = one("10.9.9.9:80")
    assert "no node, pod or Service" in await told(finder, late)
    seed(server, [item("Service", "new", spec={"clusterIP": "10.9.9.9"})])
    assert str((await finder.find(late)).resource) == "Service shop/new"


async def test_a_cluster_too_large_to_be_looked_through_names_nobody(
    client: KubernetesCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_MOST_OBJECTS", 3)
    assert "more than 3 objects of kind Pod" in await told(
        TargetFinder({"test": client}), one(f"{API_IP}:80")
    )


async def test_what_ends_is_told_of_whom_it_began_with_though_the_pod_has_gone(
    server: SimulatedApiServer, client: KubernetesCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_TTL", 0.0)
    finder = TargetFinder({"test": client})
    begun = await finder.find(one(f"{API_IP}:8080"))
    server.store.delete("pods", "shop", "api-7d9f8b6c5d-x2z4k")
    (over,) = signals(addressed("SomethingIsSlow", f"{API_IP}:8080") | {"status": "resolved"})
    assert (await finder.find(over)).resource == begun.resource
    assert "no node, pod" in await told(finder, one(f"{API_IP}:8080"))


def _has(found: list[Any], number: int) -> bool:
    return len(found) == number


# -- on the way to an incident -------------------------------------------------------------------------


async def test_alerts_by_address_become_incidents_of_their_objects_and_others_are_parked(
    server: SimulatedApiServer, client: KubernetesCluster, nats_server: NatsEngine
) -> None:
    configured = settings(nats_server.endpoint.url)
    store, starter = MemoryStore(), RecordingStarter()
    before = totals()
    payload = webhook(
        addressed("NodeFilesystemAlmostOutOfSpace", f"{NODE_IP}:9100", job="node-exporter"),
        {**addressed("OrdersSlow", f"{API_IP}:8080", job="orders"), "fingerprint": "a1"},
        {**addressed("OrdersSlow", "10.244.9.9:8080", job="orders"), "fingerprint": "a2"},
    )
    async with await JetStreamBus.connect(configured.nats) as bus:
        app = create_gateway(configured, bus)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as web:
            answer = await web.post("/webhooks/alertmanager?cluster=test", json=payload)
        assert (answer.status_code, answer.json()["accepted"]) == (202, 3)
        resolver = OwnerResolver({"test": client})
        correlator = Correlator(configured, bus, cast(Store, store), starter, resolver)
        await correlator.start()
        try:
            await eventually(lambda: len(store.rows) == 2 and since(before).get("parked") == 1)
        finally:
            await correlator.stop()
    assert sorted(starter.started) == sorted(API.values())
    found = {signal.name: signal for _, several in starter.told for signal in several}
    assert str(found["OrdersSlow"].resource) == "Pod shop/api-7d9f8b6c5d-x2z4k"
    assert found["OrdersSlow"].fingerprint == "alertmanager:test:a1"
    assert found["NodeFilesystemAlmostOutOfSpace"].labels[TARGET_LABEL]
    assert since(before) == {"ingested": 3, "started": 2, "parked": 1}


async def test_the_end_of_an_alert_reaches_the_incident_after_a_restart_although_the_pod_has_gone(
    server: SimulatedApiServer, client: KubernetesCluster, nats_server: NatsEngine
) -> None:
    configured = settings(nats_server.endpoint.url)
    store, starter = MemoryStore(), RecordingStarter()
    async with await JetStreamBus.connect(configured.nats) as bus:
        for number, status in enumerate(("firing", "resolved"), 1):
            correlator = Correlator(
                configured, bus, cast(Store, store), starter, OwnerResolver({"test": client})
            )
            await correlator.start()
            try:
                await bus.publish(
                    signals(addressed("SomethingIsSlow", f"{API_IP}:8080") | {"status": status})
                )
                await eventually(partial(_has, starter.told, number))
            finally:
                await correlator.stop()
            server.store.delete("pods", "shop", "api-7d9f8b6c5d-x2z4k")
            key, (first, *_) = starter.told[0]
            store.open.add(key)  # as the real store tells of what runs
            store.open_bodies["test"] = {key: (first.resource, [first.model_dump_json()])}
    (key, _), (same, (over,)) = starter.told
    assert key == same == API["KubeDeployment"]
    assert over.labels[TARGET_LABEL] == "as when the alert began" and over.resource.kind != ADDRESS


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_DOWN_FOR", 0.1)
    monkeypatch.setattr(partition, "_LOOK_AGAIN", 0.1)


@pytest.mark.usefixtures("quickly")
async def test_while_the_cluster_does_not_answer_an_address_waits_also_through_a_restart(
    server: SimulatedApiServer, client: KubernetesCluster, nats_server: NatsEngine
) -> None:
    configured = settings(nats_server.endpoint.url)
    store, starter, before = MemoryStore(), RecordingStarter(), totals()

    def correlator(bus: JetStreamBus) -> Correlator:
        return Correlator(configured, bus, cast(Store, store), starter, OwnerResolver({"test": client}))

    server.faults.add(Fault(path=".*", status=503))
    async with await JetStreamBus.connect(configured.nats) as bus:
        first = correlator(bus)
        await first.start()
        await bus.publish(signals(addressed("SomethingIsSlow", f"{API_IP}:8080")))
        await eventually(lambda: first.held == 1)
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await first.stop()
        assert time.monotonic() - began < 3  # it does not wait for what the next owner reads again
        assert (starter.told, store.rows) == ([], [])
        second = correlator(bus)
        await second.start()
        try:
            await eventually(lambda: second.held == 1)
            server.faults.clear()
            await eventually(lambda: len(store.rows) == 1)
        finally:
            await second.stop()
        assert second.held == 0
    assert list(starter.started) == [API["KubeDeployment"]]
    assert since(before) == {"started": 1}


@pytest.mark.usefixtures("quickly")
async def test_an_address_that_nobody_tells_of_is_parked_in_the_end_and_so_is_what_is_too_much(
    server: SimulatedApiServer,
    client: KubernetesCluster,
    nats_server: NatsEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partition, "_LOOKED_FOR", 0.5)
    monkeypatch.setattr(partition, "_MOST_ASIDE", 1)
    configured = settings(nats_server.endpoint.url)
    store, starter, before = MemoryStore(), RecordingStarter(), totals()
    server.faults.add(Fault(path=".*", status=503))
    async with await JetStreamBus.connect(configured.nats) as bus:
        resolver = OwnerResolver({"test": client})
        correlator = Correlator(configured, bus, cast(Store, store), starter, resolver)
        await correlator.start()
        try:
            for number in (1, 2):
                found = signals(
                    {**addressed("Slow", f"{API_IP}:{8080 + number}"), "fingerprint": f"a{number}"}
                )
                await bus.publish(found)
            await eventually(lambda: since(before).get("parked") == 2)
        finally:
            await correlator.stop()
        assert correlator.held == 0
    assert starter.told == []
