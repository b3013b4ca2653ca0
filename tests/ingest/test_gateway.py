"""The gateway over a real NATS server: what it takes, what it refuses, and what it promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import nats
import pytest

from cortexops.adapters.nats import JetStreamBus
from cortexops.domain.errors import InvalidInput, TemporaryError
from cortexops.settings import load_settings
from ingest.app import create_gateway
from sandbox.engines.nats import NatsEngine
from tests.ingest.support import alert, metric, settings, signal, since, totals, webhook

GOOD = webhook(alert(namespace="shop", pod="api-0"))


class Gateway:
    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self.client = client
        self.url = url

    async def post(self, body: Any, path: str = "/webhooks/alertmanager", **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        return await self.client.post(path, content=content, headers=headers)

    async def stored(self, stream: str = "TELEMETRY") -> int:
        connection = await nats.connect(self.url)
        try:
            return (await connection.jetstream().stream_info(stream)).state.messages
        finally:
            await connection.close()


async def open_gateway(server: NatsEngine, **gateway: Any) -> AsyncIterator[Gateway]:
    configured = settings(server.endpoint.url, gateway=gateway)
    async with await JetStreamBus.connect(configured.nats) as bus:
        transport = httpx.ASGITransport(app=create_gateway(configured, bus))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield Gateway(client, server.endpoint.url)


@pytest.fixture
async def gateway(nats_server: NatsEngine) -> AsyncIterator[Gateway]:
    async for one in open_gateway(nats_server, max_body_bytes=20_000):
        yield one


async def test_202_means_that_the_stream_has_it(gateway: Gateway) -> None:
    answer = await gateway.post(GOOD)
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 1,
        "duplicates": 0,
        "ignored": 0,
        "ignored_reasons": {},
        "rejected": [],
        "rejected_total": 0,
    }
    connection = await nats.connect(gateway.url)
    message = await connection.jetstream().get_msg("TELEMETRY", 1)
    await connection.close()
    assert str(message.subject).startswith("telemetry.default.alertmanager")
    assert message.data is not None
    assert message.headers is not None
    assert json.loads(message.data)["id"] == message.headers["Nats-Msg-Id"]


async def test_reposts_are_stored_once_and_every_one_is_accounted_for(gateway: Gateway) -> None:
    before = totals()
    answers = [(await gateway.post(GOOD)).json() for _ in range(10)]
    assert [answer["duplicates"] for answer in answers] == [0] + [1] * 9
    assert await gateway.stored() == 1
    assert since(before) == {"ingested": 10, "merged": 9}  # the tenth is on its way


async def test_a_bad_alert_is_named_and_parked_and_its_neighbours_are_taken(gateway: Gateway) -> None:
    before = totals()
    answer = await gateway.post(webhook(alert("Watchdog"), *GOOD["alerts"], alert(pod="x")))
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    assert [(r["index"], r["field"]) for r in answer.json()["rejected"]] == [
        (0, "labels"),
        (2, "labels.namespace"),
    ]
    assert await gateway.stored("TELEMETRY_PARKED") == 2
    assert since(before) == {"ingested": 3, "parked": 2}


async def test_a_body_with_nothing_valid_is_422_naming_the_fields(gateway: Gateway) -> None:
    answer = await gateway.post(webhook(alert(pod="api-0")))
    assert answer.status_code == 422
    assert answer.json()["rejected"][0]["field"] == "labels.namespace"
    assert "labels.namespace" in answer.json()["error"]
    assert (await gateway.post({"unrelated": True})).status_code == 422


@pytest.mark.parametrize("body", ["{", "", "\x00", "[1,", b"\xff\xfe"])
async def test_malformed_json_is_400(gateway: Gateway, body: str | bytes) -> None:
    assert (await gateway.post(body)).status_code == 400


async def test_deeply_nested_json_does_not_bring_it_down(gateway: Gateway) -> None:
    assert (await gateway.post("[" * 19_000)).status_code == 400


async def test_an_unknown_source_is_404_and_lists_the_known_ones(gateway: Gateway) -> None:
    answer = await gateway.post(GOOD, "/webhooks/pigeon")
    assert answer.status_code == 404
    assert "alertmanager" in answer.json()["error"]


async def test_an_oversize_body_is_413_even_when_it_does_not_say_its_length(gateway: Gateway) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * 20_000:
            sent += 1000
            yield b"x" * 1000

    answer = await gateway.client.post("/webhooks/alertmanager", content=endless())
    assert answer.status_code == 413
    assert await gateway.stored() == 0


async def test_plain_signals_may_come_one_a_line_with_bad_lines_set_apart(gateway: Gateway) -> None:
    body = "\n".join([signal("A").model_dump_json(), "{broken", signal("B").model_dump_json()])
    answer = await gateway.post(body, "/api/v1/signals")
    assert answer.json()["accepted"] == 2
    assert answer.json()["rejected"][0]["field"] == "line"
    many = f"[{signal('C').model_dump_json()},{signal('A').model_dump_json()}]"
    answer = await gateway.post(many, "/api/v1/signals")
    assert answer.json()["accepted"] + answer.json()["duplicates"] == 2


async def test_a_configured_token_is_demanded(nats_server: NatsEngine) -> None:
    async for gateway in open_gateway(nats_server, token="right-token"):
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "right-token"}):
            answer = await gateway.post(GOOD, **wrong)
            assert answer.status_code == 401
            assert "right-token" not in answer.text
        assert (await gateway.post(GOOD, "/api/v1/signals")).status_code == 401
        assert await gateway.stored() == 0
        assert (await gateway.post(GOOD, Authorization="Bearer right-token")).status_code == 202


def test_it_refuses_to_listen_off_loopback_without_a_token() -> None:
    with pytest.raises(InvalidInput, match=r"gateway\.token"):
        load_settings(gateway={"host": "0.0.0.0"})
    assert load_settings(gateway={"host": "0.0.0.0", "token": "t"}).gateway.token is not None


async def test_a_cluster_that_cannot_be_watched_is_named_and_keeps_no_sender_out(
    nats_server: NatsEngine,
) -> None:
    async with await JetStreamBus.connect(settings(nats_server.endpoint.url).nats) as bus:
        app = create_gateway(
            settings(), bus, watched=lambda: {"east": "pods: not allowed to watch", "west": None}
        )
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            health = await client.get("/debug/healthz")
    assert health.status_code == 200
    assert health.json()["status"] == "degraded"
    assert health.json()["components"]["watch east"] == {
        "healthy": False,
        "detail": "pods: not allowed to watch",
    }
    assert health.json()["components"]["watch west"]["healthy"] is True
    assert metric("cortexops_component_unhealthy", component="watch east") == 1


async def test_while_the_bus_is_down_it_says_503_and_nothing_is_lost_when_senders_retry(
    nats_server: NatsEngine,
) -> None:
    async for gateway in open_gateway(nats_server):
        assert (await gateway.post(GOOD)).status_code == 202
        nats_server.kill9()
        later = webhook(alert("KubePodNotReady", namespace="shop", pod="api-1"))
        answer = await gateway.post(later)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        health = await gateway.client.get("/debug/healthz")
        assert health.status_code == 503
        assert health.json()["components"]["nats"]["healthy"] is False
        assert metric("cortexops_component_unhealthy", component="nats") == 1
        await nats_server.start()
        for _ in range(100):
            answer = await gateway.post(later)
            if answer.status_code == 202:
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("it did not come back")
        assert await gateway.stored() == 2
        assert (await gateway.client.get("/debug/healthz")).status_code == 200
        assert metric("cortexops_component_unhealthy", component="nats") == 0


async def test_metrics_and_openapi_are_published(gateway: Gateway) -> None:
    before = metric("cortexops_events_ingested_total", source="alertmanager", cluster="eu-7")
    await gateway.post(webhook(alert(namespace="s", pod="p", cluster="eu-7")))
    text = (await gateway.client.get("/metrics")).text
    assert 'cortexops_events_ingested_total{cluster="eu-7",source="alertmanager"}' in text
    assert metric("cortexops_events_ingested_total", source="alertmanager", cluster="eu-7") == before + 1
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    assert {"/webhooks/{source}", "/api/v1/signals", "/debug/healthz"} <= set(paths)
    assert {"202", "401", "413", "503"} <= set(paths["/api/v1/signals"]["post"]["responses"])


async def test_connecting_to_an_absent_bus_is_a_temporary_error() -> None:
    with pytest.raises(TemporaryError):
        await JetStreamBus.connect(settings("nats://127.0.0.1:9").nats)
