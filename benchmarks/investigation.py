"""One workload in a namespace of 5,000 pods, at 20 ms a request."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import Row, at_most, plain
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
        cluster.server.faults.add(Fault(path=".", latency=_LATENCY))
        with tempfile.TemporaryDirectory(prefix="cortexops-bench-") as folder:
            config = cluster.kubeconfig(Path(folder) / "config", "investigator")
            found = [await asyncio.to_thread(_investigate, config, cluster.name, alert) for _ in range(runs)]
        cluster.server.faults.clear()
    return [
        at_most(
            f"API requests for one workload among {pods} pods",
            [one.requests for one in found],
            25,
            "requests",
        ),
        at_most("seconds for it at 20 ms a request", [one.seconds for one in found], 3, "s"),
        plain("  with the start of the command", [one.whole for one in found], "s"),
        at_most("peak RSS of the command", [one.memory for one in found], 400, "MB"),
    ]


class _Found(NamedTuple):
    requests: float
    seconds: float  # as the report says
    whole: float
    memory: float  # MB


_COMMAND = """
import atexit, sys
from pathlib import Path
from cortexops.cli.main import main
atexit.register(lambda: sys.stderr.write(Path("/proc/self/status").read_text()))
main()
"""
"""The console script, which says at its end what memory it took: the kernel's figure of a child starts with that of
its parent, who holds a cluster."""


def _investigate(kubeconfig: str, cluster: str, alert: str) -> _Found:
    """The command that people type, in a process of its own."""
    command = [sys.executable, "-c", _COMMAND, "investigate", "--alert", "-", "--no-llm", "-o", "json"]
    command += ["--kubeconfig", kubeconfig, "--cluster", cluster]
    began = time.perf_counter()
    done = subprocess.run(command, input=alert, capture_output=True, text=True, check=True)
    whole = time.perf_counter() - began
    report = json.loads(done.stdout)
    assert report["incidents"][0]["verdict"] == "root_cause", report
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert peak is not None
    return _Found(
        float(report["api_requests"]),
        float(report["duration_seconds"]),
        whole,
        int(peak.group(1)) * 1024 / 1e6,
    )
