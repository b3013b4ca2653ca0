"""Prometheus, Loki and metrics.k8s.io beside the API server: what they measured, and what they did not say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from activities.actions import propose
from activities.collectors._backend import HttpBackend
from activities.oneshot import investigate_payload
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import KINDS, Kind
from ingest.decode import decode_file
from tests.evals.api import Api
from tests.evals.run import load

Answer = Callable[[web.Request], web.StreamResponse]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[tuple[str, list[web.Request]]]:
    asked: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return answer(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def look(
    name: str, tmp_path: Path, *, api: dict[str, Any] | None = None, **more: str
) -> dict[str, Any]:
    incident = load(name)
    async with Api(incident.objects, incident.logs, **(api or incident.server)) as fake:
        now = datetime.now(UTC)
        parsed = decode_file(json.dumps(incident.payload), "auto", "eval", now)
        client = await KubernetesCluster.connect("eval", fake.kubeconfig(tmp_path / "config"))
        try:
            report = await investigate_payload(client, parsed.signals, now, propose, **more)  # type: ignore[arg-type]
        finally:
            await client.close()
    found: dict[str, Any] = report["incidents"][0]
    return found


def series(value: float, **labels: str) -> dict[str, Any]:
    return {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": labels, "value": [1, str(value)]}]},
    }


NOTHING = {"status": "success", "data": {"resultType": "vector", "result": []}}


async def test_memory_that_prometheus_measured_is_cited_at_the_time_of_the_alert(tmp_path: Path) -> None:
    pod = next(
        o["metadata"]["name"]
        for o in load("oom-limit-too-low").objects
        if o["kind"] == "Pod" and "orders" in o["metadata"]["name"]
    )

    def answer(request: web.Request) -> web.StreamResponse:
        if "memory" in request.query["query"]:
            return web.json_response(series(264241152, pod=pod, container="orders"))
        return web.json_response(NOTHING)

    async with server(answer) as (url, asked):
        incident = await look("oom-limit-too-low", tmp_path, prometheus=url)
    metrics = [fact for fact in incident["evidence"] if fact["kind"] == "metric"]
    assert metrics and "264241152 bytes" in metrics[0]["summary"]
    assert asked[0].query["time"].startswith("2026-03-10T13:20:00")
    assert all('namespace="shop"' in request.query["query"] for request in asked)


async def test_a_full_volume_that_prometheus_measured_is_the_root_cause(tmp_path: Path) -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        if "kubelet_volume" in request.query["query"]:
            return web.json_response(series(0.99, persistentvolumeclaim="data-timeseries-0"))
        return web.json_response(NOTHING)

    async with server(answer) as (url, _):
        incident = await look("pvc-filling-alert", tmp_path, prometheus=url)
    assert incident["verdict"] == "root_cause" and "99%" in incident["root_cause"]["summary"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda request: web.json_response({"error": "x"}, status=503), "error"),
        (lambda request: web.json_response({"error": "x"}, status=422), "error"),
        (lambda request: web.Response(text="<html>"), "error"),
        (lambda request: web.json_response({}, status=403), "forbidden"),
    ],
)
async def test_a_prometheus_that_does_not_answer_is_a_gap_and_the_rest_goes_on(
    answer: Answer, reason: str, tmp_path: Path
) -> None:
    async with server(answer) as (url, _):
        incident = await look("oom-limit-too-low", tmp_path, prometheus=url)
    assert incident["root_cause"]["category"] == "oom_limit_too_low"
    told = [fact["summary"] for fact in incident["evidence"] if "query prometheus" in fact["summary"]]
    assert told and all(reason in text for text in told)


async def test_an_answer_without_series_is_no_error(tmp_path: Path) -> None:
    async with server(lambda request: web.json_response(NOTHING)) as (url, _):
        incident = await look("oom-limit-too-low", tmp_path, prometheus=url)
    assert not [fact for fact in incident["evidence"] if "query prometheus" in fact["summary"]]


async def test_loki_tells_what_the_api_server_may_not(tmp_path: Path) -> None:
    incident = load("config-bad-value")
    ((key, text),) = incident.logs.items()
    stream = {
        "stream": {"pod": key[1], "container": key[2]},
        "values": [[str(n), line] for n, line in enumerate(text.splitlines())],
    }
    body = {"status": "success", "data": {"resultType": "streams", "result": [stream]}}
    async with server(lambda request: web.json_response(body)) as (url, asked):
        found = await look("config-bad-value", tmp_path, api={"denied": ["get pods/log"]}, loki=url)
    assert found["root_cause"]["resource"]["name"] == "payments-env"
    assert found["root_cause"]["confidence"] > 0.9
    assert asked[0].query["query"].startswith('{namespace="shop",pod=~"')


async def test_use_of_memory_comes_from_the_metrics_api_where_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "PodMetrics", Kind("PodMetrics", "pods", True, ("metrics.k8s.io/v1beta1",)))
    incident = load("oom-leak-since-release")
    pods = [o for o in incident.objects if o["kind"] == "Pod" and "cart" in o["metadata"]["name"]]
    metrics = {
        "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
        "metadata": {"name": pods[0]["metadata"]["name"], "namespace": "shop", "labels": pods[0]["metadata"]["labels"]},
        "timestamp": "2026-03-10T14:00:00Z", "window": "15s",
        "containers": [{"name": "cart", "usage": {"cpu": "110m", "memory": "498Mi"}}],
    }  # fmt: skip
    async with Api([*incident.objects, metrics], {}, without=[]) as fake:
        now = datetime.now(UTC)
        parsed = decode_file(json.dumps(incident.payload), "auto", "eval", now)
        client = await KubernetesCluster.connect("eval", fake.kubeconfig(tmp_path / "config"))
        try:
            report = await investigate_payload(client, parsed.signals, now, propose)
        finally:
            await client.close()
    assert any("498Mi" in fact["summary"] for fact in report["incidents"][0]["evidence"])


@pytest.mark.parametrize("url", ["", "prometheus:9090", "file:///etc/passwd", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        HttpBackend("prometheus", url)
