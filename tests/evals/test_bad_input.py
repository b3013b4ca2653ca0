"""An API server that sends nonsense, too much, nothing, or answers late: a report comes all the same."""

from __future__ import annotations

import copy
import json
import resource
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from activities.actions import propose
from activities.oneshot import investigate_payload
from cortexops.adapters.kubernetes import KubernetesCluster
from ingest.decode import decode_file
from tests.evals.api import Api
from tests.evals.expand import Incident
from tests.evals.prune import pruned
from tests.evals.run import FOLDERS, investigate, load, name_of

CRASH = "config-bad-value"


async def look(
    incident: Incident, tmp_path: Path, *, budget: float = 20, timeout: float = 5, **server: Any
) -> dict[str, Any]:
    async with Api(incident.objects, incident.logs, **server) as api:
        now = datetime.now(UTC)
        parsed = decode_file(json.dumps(incident.payload), "auto", "eval", now)
        client = await KubernetesCluster.connect(
            "eval", api.kubeconfig(tmp_path / "config"), request_timeout=timeout
        )
        try:
            return await investigate_payload(client, parsed.signals, now, propose, budget_seconds=budget)
        finally:
            await client.close()


def cause_of(report: Mapping[str, Any]) -> str:
    cause = report["incidents"][0]["root_cause"]
    return name_of(cause["resource"]) if cause else ""


@pytest.mark.parametrize("seed", [1, 2])
async def test_fields_that_are_missing_or_of_another_type_never_end_an_investigation(seed: int) -> None:
    for folder in FOLDERS[seed::5]:
        report = await investigate(pruned(load(folder.name), seed))
        assert report["incidents"], folder.name


async def test_objects_without_any_status_are_not_called_healthy(tmp_path: Path) -> None:
    incident = load(CRASH)
    bare = [{k: v for k, v in obj.items() if k != "status"} for obj in incident.objects]
    report = await look(incident._replace(objects=bare), tmp_path)
    assert report["incidents"][0]["verdict"] != "healthy"


async def test_owner_references_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    incident = load(CRASH)
    objects = copy.deepcopy(incident.objects)
    for obj in objects:
        if obj["kind"] == "Deployment" and obj["metadata"]["name"] == "payments-api":
            owner = next(
                o for o in objects if o["kind"] == "ReplicaSet" and "payments-api" in o["metadata"]["name"]
            )
            obj["metadata"]["ownerReferences"] = [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": owner["metadata"]["name"],
                    "uid": "u",
                    "controller": True,
                }
            ]
    report = await look(incident._replace(objects=objects), tmp_path)
    assert cause_of(report) == "ConfigMap/shop/payments-env"


@pytest.mark.parametrize(
    "noise", [b"x" * 10_485_760 + b"\n", bytes(range(256)) * 4000, b"\xff\xfe\x00\x80" * 1000 + b"\n"]
)
async def test_huge_lines_and_binary_logs_cost_neither_time_nor_memory(noise: bytes, tmp_path: Path) -> None:
    incident = load(CRASH)
    ((key, text),) = incident.logs.items()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    report = await look(incident._replace(logs={key: noise + text.encode()}), tmp_path)  # type: ignore[dict-item]
    assert time.perf_counter() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert report["incidents"] and "\x00" not in json.dumps(report)


async def test_five_thousand_events_do_not_hide_the_one_that_tells(tmp_path: Path) -> None:
    incident = load("quota-exceeded")
    pattern = next(obj for obj in incident.objects if obj["kind"] == "Event")
    flood = []
    for number in range(5000):
        event = copy.deepcopy(pattern)
        event["metadata"]["name"] = f"aaa-{number:05d}"
        event["metadata"]["namespace"] = "shop"
        event |= {"reason": "Pulled", "message": f"pulled {number}", "type": "Normal"}
        event["involvedObject"] = {"kind": "Pod", "namespace": "shop", "name": f"other-{number}"}
        flood.append(event)
    report = await look(incident._replace(objects=incident.objects + flood), tmp_path)
    assert cause_of(report) == "ResourceQuota/shop/team-quota"
    assert report["api_requests"] <= 25


@pytest.mark.parametrize("offset", ["2026-03-10T16:", "2026-03-10T11:"])
async def test_clocks_that_are_hours_apart_do_not_blame_somebody_else(offset: str, tmp_path: Path) -> None:
    incident = load("oom-limit-too-low")
    shifted = json.loads(json.dumps(incident.payload).replace("2026-03-10T13:", offset))
    report = await look(incident._replace(payload=shifted), tmp_path)
    assert cause_of(report) in ("", "Deployment/shop/orders")


async def test_an_alert_about_a_kind_that_nobody_knows_is_unknown(tmp_path: Path) -> None:
    incident = load(CRASH)
    event = {
        "apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "SyncFailed", "message": "cannot sync",
        "metadata": {"name": "w.1", "namespace": "shop", "creationTimestamp": "2026-03-10T13:50:00Z"},
        "involvedObject": {"kind": "Widget", "apiVersion": "acme.dev/v1", "namespace": "shop", "name": "w"},
    }  # fmt: skip
    report = await look(incident._replace(payload=event), tmp_path)
    assert report["incidents"][0]["verdict"] == "unknown"


@pytest.mark.parametrize("code", [403, 429, 500])
async def test_half_an_api_gives_a_partial_report_that_names_what_is_missing(
    code: int, tmp_path: Path
) -> None:
    half = ["events", "nodes", "configmaps", "horizontalpodautoscalers", "networkpolicies", "services"]
    denied = [f"list {kind}" for kind in half] + ["get configmaps"] if code == 403 else []
    failing = {} if code == 403 else dict.fromkeys(half, code)
    report = await look(load(CRASH), tmp_path, denied=denied, failing=failing)
    (incident,) = report["incidents"]
    told = json.dumps(incident)
    for kind in ("events", "nodes", "configmaps"):
        assert f"list {kind}" in told or f"get {kind}" in told, kind
    assert incident["verdict"] in ("hypothesis", "unknown")
    assert all(h["confidence"] < 0.7 for h in incident["hypotheses"])


async def test_an_api_that_hangs_in_part_keeps_the_budget(tmp_path: Path) -> None:
    began = time.perf_counter()
    report = await look(load(CRASH), tmp_path, budget=2, hanging=["nodes", "events", "services"])
    assert time.perf_counter() - began < 4
    assert "budget" in json.dumps(report) or "nodes" in json.dumps(report)


async def test_pages_are_followed_and_kinds_that_are_not_served_are_done_without(tmp_path: Path) -> None:
    without = [
        "policy/v1",
        "autoscaling/v2",
        "networking.k8s.io/v1",
        "discovery.k8s.io/v1",
        "metrics.k8s.io/v1beta1",
    ]
    report = await look(load(CRASH), tmp_path, page=2, without=without)
    assert cause_of(report) == "ConfigMap/shop/payments-env"


async def test_one_workload_among_five_thousand_pods_stays_within_the_budget(tmp_path: Path) -> None:
    incident = load(CRASH)
    pattern = next(o for o in incident.objects if o["kind"] == "Pod" and "mailer" in o["metadata"]["name"])
    crowd = []
    for number in range(5000):
        pod = copy.deepcopy(pattern)
        pod["metadata"] |= {"name": f"crowd-{number:05d}", "labels": {"app": "crowd"}}
        crowd.append(pod)
    began = time.perf_counter()
    report = await look(incident._replace(objects=incident.objects + crowd), tmp_path, latency=0.02)
    seconds = time.perf_counter() - began
    print(f"{report['api_requests']} requests, {seconds:.2f} s at 20 ms each")
    assert cause_of(report) == "ConfigMap/shop/payments-env"
    assert report["api_requests"] <= 25 and report["duration_seconds"] < 3
