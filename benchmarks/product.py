"""The running product: start, latency from alert to workflow, cost of an incident in Temporal."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
from temporalio.client import Client
from temporalio.service import RPCError

from benchmarks.measure import Row, at_most, plain
from cortexops.adapters.postgres import PostgresStore
from cortexops.contracts.incident import INCIDENT_WORKFLOW
from sandbox import scenarios
from sandbox.demo.follow import Follower
from sandbox.demo.follow import approve as approve_over_http
from sandbox.platform.platform import Platform

_BILLABLE = {
    "WORKFLOW_EXECUTION_STARTED", "WORKFLOW_EXECUTION_SIGNALED", "ACTIVITY_TASK_SCHEDULED", "TIMER_STARTED",
    "MARKER_RECORDED", "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
}  # fmt: skip
"""What Temporal Cloud counts. Several local activities of one workflow task count once."""


def help_seconds(runs: int) -> list[float]:
    """Wall time of `cortexops --help`."""
    program = Path(sys.executable).parent / "cortexops"
    samples = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run([str(program), "--help"], capture_output=True, check=True)
        samples.append(time.perf_counter() - began)
    return samples


def _alert(number: int, cluster: str) -> dict[str, object]:
    labels = {
        "alertname": "Bench",
        "cluster": cluster,
        "severity": "critical",
        "namespace": "bench",
        "deployment": f"app-{number}",
    }
    now = datetime.now(UTC).isoformat()
    return {
        "version": "4",
        "status": "firing",
        "alerts": [
            {
                "status": "firing",
                "labels": labels,
                "annotations": {},
                "startsAt": now,
                "fingerprint": f"{number:016x}",
            }
        ],
    }


async def _latency(
    platform: Platform, client: Client, number: int, http: httpx.AsyncClient, cluster: str
) -> float:
    """Seconds from the post until Temporal runs the workflow. A critical alert does not wait for a group where
    nothing else has been wrong in its cluster for the length of the window; else it waits half a second."""
    began = time.time()
    answer = await http.post(f"{platform.gateway_url}/webhooks/alertmanager", json=_alert(number, cluster))
    answer.raise_for_status()
    handle = client.get_workflow_handle(f"incident:{cluster}:bench:Deployment:app-{number}")
    while True:
        try:
            described = await handle.describe()
        except RPCError as error:
            if time.time() - began > 20:
                raise TimeoutError("the workflow did not start") from error
            await asyncio.sleep(0.005)
            continue
        return described.start_time.timestamp() - began


async def _cost(platform: Platform, client: Client) -> tuple[int, int]:
    """History events and billable actions of one incident that was approved, mended and verified."""
    assert platform.cluster is not None
    since = datetime.now(UTC)
    plan = await platform.cluster.play(scenarios.load("oom-after-release"))
    store = await PostgresStore.connect(platform.engines.postgres_dsn)
    try:
        follower = Follower(store, lambda _incident, _event: None)
        incident = await follower.find("production", "payment-service", since=since, within=30)
        ended = await follower.follow(
            incident,
            within=90,
            on_approval=lambda record: approve_over_http(
                platform.console_url, platform.token, record, "bench"
            ),
        )
    finally:
        await store.close()
    history = await client.get_workflow_handle(ended.key, run_id=ended.run_id).fetch_history()
    names = [event.WhichOneof("attributes") or "" for event in history.events]
    kinds = [name.removesuffix("_event_attributes").upper() for name in names]
    billable, marker_before = 0, False
    for kind in kinds:
        if kind not in _BILLABLE:
            continue
        billable += not (kind == "MARKER_RECORDED" and marker_before)
        marker_before = kind == "MARKER_RECORDED"
    assert plan.name
    return len(kinds), billable


async def rows(quick: bool) -> list[Row]:
    """Starts of fresh platforms, twenty latencies, one whole incident."""
    starts: list[float] = []
    found: list[Row] = [at_most("cortexops --help", help_seconds(3 if quick else 9), 0.3, "s")]
    if quick:
        return found
    for _ in range(2):
        with tempfile.TemporaryDirectory(prefix="cortexops-bench-") as folder:
            Path(folder).chmod(0o755)
            async with Platform(Path(folder) / "data") as platform:
                starts.append(platform.start_seconds)
    with tempfile.TemporaryDirectory(prefix="cortexops-bench-") as folder:
        Path(folder).chmod(0o755)
        async with Platform(Path(folder) / "data") as platform:
            starts.append(platform.start_seconds)
            client = await Client.connect(platform.engines.temporal_address)
            async with httpx.AsyncClient(timeout=15) as http:
                seconds, company = [], []
                for number in range(25):  # each from a quiet cluster
                    seconds.append(await _latency(platform, client, number, http, f"quiet-{number}"))
                    await asyncio.sleep(0.3)  # idle between alerts
                for number in range(25, 35):
                    company.append(await _latency(platform, client, number, http, "busy"))
            events, billable = await _cost(platform, client)
    measured = sorted(1000 * s for s in seconds[5:])
    found += [
        at_most("cortexops up until all is healthy", starts, 10, "s"),
        at_most("alert posted until workflow runs, p50", [statistics.median(measured)], 50, "ms"),
        at_most("alert posted until workflow runs, p99", [measured[-1]], 200, "ms"),
        plain("  where more is wrong in the cluster, p50", [statistics.median(company[1:]) * 1000], "ms"),
        at_most("history events of a remediated incident", [events], 60, "events"),
        at_most(f"billable actions of it ({INCIDENT_WORKFLOW})", [billable], 25, "actions"),
    ]
    return found
