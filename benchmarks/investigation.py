"""One workload in a namespace of 5,000 pods, at 20 ms a request."""

from __future__ import annotations

import copy
import json
import resource
import time
from datetime import UTC, datetime

from activities.actions import propose
from activities.oneshot import investigate_payload
from benchmarks.measure import Row, at_most
from ingest.decode import decode_file
from sandbox import scenarios
from sandbox.cluster.faults import Fault
from sandbox.cluster.kinds import BY_KIND
from sandbox.cluster.simulation import SimulatedCluster
from sandbox.cluster.verbs import Options

_PODS = 5_000
_LATENCY = 0.02


async def rows(quick: bool) -> list[Row]:
    """Three investigations (one among 500 pods when quick)."""
    pods, runs = (500, 1) if quick else (_PODS, 3)
    seconds, requests = [], []
    async with SimulatedCluster() as cluster:
        plan = await cluster.play(scenarios.load("oom-after-release"))
        admin = await cluster.cluster("admin")
        sample = (await admin.list("Pod", "production", labels="app=payment-service")).items[0]
        template = {"containers": copy.deepcopy(sample["spec"]["containers"]), "nodeName": "nowhere"}
        for number in range(pods):
            body = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"bystander-{number}", "labels": {"app": "bystander"}},
                "spec": copy.deepcopy(template),
            }
            cluster.server.verbs.create(BY_KIND["Pod"], "production", body, Options())
        alert = json.dumps(cluster.alert(plan))
        now = datetime.now(UTC)
        parsed = decode_file(alert, "alertmanager", cluster.name, now)
        cluster.server.faults.add(Fault(path=".", latency=_LATENCY))
        for _ in range(runs):
            reader = await cluster.cluster("investigator")
            began = time.perf_counter()
            report = await investigate_payload(reader, parsed.signals, now, propose)
            seconds.append(time.perf_counter() - began)
            requests.append(float(report["api_requests"]))
        cluster.server.faults.clear()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        at_most(f"API requests for one workload among {pods} pods", requests, 25, "requests"),
        at_most("seconds for it at 20 ms a request", seconds, 3, "s"),
        at_most("RSS, the simulated API server included", [memory], 400, "MiB"),
    ]
