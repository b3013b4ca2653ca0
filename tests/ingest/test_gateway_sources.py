"""The gateway with senders of many sorts: who gets in, what is ignored, and that nothing is lost unexplained."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from cortexops.adapters.nats import JetStreamBus
from cortexops.domain.errors import InvalidInput, TemporaryError
from cortexops.domain.signal import FateReason, Signal
from ingest.app import create_gateway
from sandbox.engines.nats import NatsEngine
from tests.ingest.support import alert, metric, settings, since, totals, webhook
from tests.unit.sources import payloads

SECRET = "signing-secret"


class Gateway:
    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self._client.post(path, content=content, headers=headers)

    async def messages(self, stream: str) -> list[bytes]:
        connection = await nats.connect(self._url)
        try:
            context = connection.jetstream()
            state = (await context.stream_info(stream)).state
            if not state.messages:
                return []
            found = [await context.get_msg(stream, n) for n in range(state.first_seq, state.last_seq + 1)]
            return [message.data or b"" for message in found]
        finally:
            await connection.close()


@pytest.fixture
async def gateway(nats_server: NatsEngine) -> AsyncIterator[Gateway]:
    configured = settings(
        nats_server.endpoint.url,
        gateway={
            "token": "the-token",
            "source_secrets": {"pagerduty": [SECRET], "datadog": ["datadogs-own"]},
        },
    )
    async with await JetStreamBus.connect(configured.nats) as bus:
        transport = httpx.ASGITransport(app=create_gateway(configured, bus))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield Gateway(client, nats_server.endpoint.url)


BEARER = {"Authorization": "Bearer the-token"}


@pytest.mark.parametrize("path", ["/webhooks/pagerduty", "/pagerduty/webhook"])
async def test_a_signed_webhook_gets_in_and_the_gateways_token_does_not(gateway: Gateway, path: str) -> None:
    before = metric("cortexops_signals_rejected_total", source="pagerduty", reason="unauthorised")
    body = json.dumps(payloads.pagerduty()).encode()
    signed = "v1=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    wrong: list[dict[str, str]] = [{}, BEARER, {"X-PagerDuty-Signature": signed[:-1] + "x"}]
    for headers in wrong:
        answer = await gateway.post(path, body, **headers)
        assert answer.status_code == 401
        assert SECRET not in answer.text
    assert metric("cortexops_signals_rejected_total", source="pagerduty", reason="unauthorised") == before + 3
    assert (await gateway.post(path, body + b" ", **{"X-PagerDuty-Signature": signed})).status_code == 401
    assert (await gateway.post(path, body, **{"X-PagerDuty-Signature": signed})).status_code == 202
    assert len(await gateway.messages("TELEMETRY")) == 1


async def test_a_secret_of_one_source_opens_no_other(gateway: Gateway) -> None:
    own = {"X-CortexOps-Token": "datadogs-own"}
    assert (await gateway.post("/webhooks/datadog", payloads.datadog(), **own)).status_code == 202
    assert (await gateway.post("/webhooks/datadog", payloads.datadog(), **BEARER)).status_code == 401
    assert (await gateway.post("/webhooks/opsgenie", payloads.opsgenie(), **own)).status_code == 401
    assert (await gateway.post("/webhooks/opsgenie", payloads.opsgenie(), **BEARER)).status_code == 202


async def test_sns_is_asked_for_its_password_and_gets_in_with_it(gateway: Gateway) -> None:
    answer = await gateway.post("/webhooks/cloudwatch", payloads.cloudwatch())
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="cortexops"'
    password = base64.b64encode(b"sns:the-token").decode()
    answer = await gateway.post(
        "/webhooks/cloudwatch", payloads.cloudwatch(), Authorization=f"Basic {password}"
    )
    assert answer.json()["accepted"] == 1


async def test_a_confirmation_waits_for_a_person_among_the_parked(gateway: Gateway) -> None:
    before = totals()
    answer = await gateway.post("/webhooks/cloudwatch", payloads.subscription(), **BEARER)
    assert answer.status_code == 202
    assert answer.json()["ignored_reasons"] == {"subscription": 1}
    (kept,) = await gateway.messages("TELEMETRY_PARKED")
    assert json.loads(kept)["SubscribeURL"] == payloads.subscription()["SubscribeURL"]
    assert since(before) == {}


async def test_what_is_ignored_is_counted_apart_and_answered_for(gateway: Gateway) -> None:
    before, name = totals(), "cortexops_signals_ignored_total"
    counted = metric(name, source="opsgenie", reason="acknowledged")
    answer = await gateway.post("/webhooks/opsgenie", payloads.opsgenie("Acknowledge"), **BEARER)
    assert answer.status_code == 202
    assert (answer.json()["accepted"], answer.json()["ignored"]) == (0, 1)
    assert answer.json()["ignored_reasons"] == {"acknowledged": 1}
    assert metric(name, source="opsgenie", reason="acknowledged") == counted + 1
    assert since(before) == {}
    assert await gateway.messages("TELEMETRY") == []


async def test_the_address_may_name_the_cluster(gateway: Gateway) -> None:
    payload = webhook(alert(namespace="s", pod="p"), alert(namespace="s", pod="q", cluster="own"))
    answer = await gateway.post("/webhooks/alertmanager?cluster=eu-9", payload, **BEARER)
    assert answer.json()["accepted"] == 2
    found = json.dumps([message.decode() for message in await gateway.messages("TELEMETRY")])
    assert "eu-9" in found
    assert "own" in found
    for wrong in ("", "a b", "x" * 64, "a/b"):
        answer = await gateway.post(f"/webhooks/alertmanager?cluster={wrong}", payload, **BEARER)
        assert answer.status_code == 400
        assert "cluster" in answer.json()["error"]


async def test_an_event_in_binary_mode_gets_its_attributes_from_headers(gateway: Gateway) -> None:
    attributes = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/p", "ce-type": "probe.failed"}
    body = {"resource": "deployment/shop/api", "severity": "high"}
    answer = await gateway.post("/webhooks/cloudevents", body, **BEARER, **attributes)
    assert answer.json()["accepted"] == 1
    (stored,) = await gateway.messages("TELEMETRY")
    assert b"probe.failed" in stored


async def test_every_one_of_thousands_of_bad_items_is_parked(gateway: Gateway) -> None:
    before = totals()
    good = webhook(alert(namespace="s", pod="p"))["alerts"]
    answer = await gateway.post("/webhooks/alertmanager", webhook(*[{}] * 2500, *good), **BEARER)
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    assert (len(answer.json()["rejected"]), answer.json()["rejected_total"]) == (1000, 2500)
    assert since(before) == {"ingested": 2501, "parked": 2500}
    assert len(await gateway.messages("TELEMETRY_PARKED")) == 2500


async def test_a_body_of_mostly_nonsense_is_refused_and_parked_as_a_whole(gateway: Gateway) -> None:
    before = totals()
    good = webhook(alert(namespace="s", pod="p"))["alerts"]
    answer = await gateway.post("/webhooks/alertmanager", webhook(*[{}] * 10_001, *good), **BEARER)
    assert answer.status_code == 422
    assert "10000" in answer.json()["error"]
    assert answer.json()["rejected_total"] == 10_001
    assert since(before) == {"ingested": 1, "parked": 1}
    assert await gateway.messages("TELEMETRY") == []
    answer = await gateway.post("/webhooks/alertmanager", webhook(*[{}] * 100_001), **BEARER)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "body", [b'"\xed\xa0\x80"', b'{"alerts": 1e999}', b'{"a":' * 3000, b'{"x":' + b"9" * 5000 + b"}", b"\x00"]
)
async def test_hostile_json_is_400_and_counted(gateway: Gateway, body: bytes) -> None:
    before = metric("cortexops_signals_rejected_total", source="alertmanager", reason="malformed")
    answer = await gateway.post("/webhooks/alertmanager", body, **BEARER)
    assert answer.status_code == 400
    assert metric("cortexops_signals_rejected_total", source="alertmanager", reason="malformed") == before + 1


class HalfDeaf:
    """A bus that takes signals but cannot park every message."""

    def __init__(self) -> None:
        self.parked = 0

    async def publish(self, signals: Sequence[Signal]) -> list[bool]:
        return [False] * len(signals)

    async def park(self, raw: bytes, reason: FateReason, source: str, detail: str = "") -> None:
        if self.parked >= 3:
            raise TemporaryError("full")
        self.parked += 1

    async def health(self) -> str | None:
        return None

    async def close(self) -> None: ...


async def test_what_could_not_be_parked_is_503_and_only_the_parked_counts() -> None:
    before, bus = totals(), HalfDeaf()
    app = create_gateway(settings(), bus)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as client:
        answer = await client.post("/webhooks/alertmanager", json=webhook(*[{}] * 5))
    assert answer.status_code == 503
    assert since(before) == {"ingested": 3, "parked": 3}


def test_secrets_for_a_source_that_does_not_exist_stop_the_gateway(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="pagerdutty"):
        create_gateway(settings(gateway={"source_secrets": {"pagerdutty": [SECRET]}}), HalfDeaf())
    missing = {"sns_certificates": [tmp_path / "absent.pem"], "sns_topics": ["arn:aws:sns:eu-west-1:1:a"]}
    with pytest.raises(InvalidInput, match="sns_certificates"):
        create_gateway(settings(gateway=missing), HalfDeaf())
    (tmp_path / "absent.pem").write_text("hello")
    with pytest.raises(InvalidInput, match="PEM"):
        create_gateway(settings(gateway=missing), HalfDeaf())
