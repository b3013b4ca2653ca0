"""What the policy tests share: the question to start from, a real OPA server, and one event loop for both."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cortexops.domain.action import Action, BlastRadius, Risk
from cortexops.domain.autonomy import Autonomy, Level
from cortexops.domain.policy import PolicyInput
from cortexops.domain.resource import ResourceRef
from sandbox.engines.ports import free_port

POLICIES = Path(__file__).resolve().parents[2] / "policies"
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def opa_binary() -> Path:
    """The OPA executable, or skip."""
    binary = os.environ.get("OPA_BIN")
    if not binary:
        pytest.skip("OPA_BIN is not set: no Open Policy Agent to compare with")
    return Path(binary)


def question(**changes: Any) -> PolicyInput:
    """A harmless change outside production, with these fields changed."""
    namespace = changes.get("namespace", "shop")
    fields: dict[str, Any] = {
        "now": NOON,
        "incident_id": "INC-20260310-001",
        "severity": "high",
        "risk_score": 40,
        "attempt": 1,
        "drill": False,
        "cluster": "east",
        "namespace": namespace,
        "environment": "staging",
        "action": Action(
            type="rollback_rollout",
            target=ResourceRef(cluster="east", kind="Deployment", namespace=namespace, name="api"),
        ),
        "risk": Risk.LOW,
        "reversible": True,
        "category": "configmap_changed",
        "confidence": 0.92,
        "verdict": "root_cause",
        "blast_radius": BlastRadius(replicas=3),
        "autonomy": Autonomy(level=Level.AUTO),
    }
    return PolicyInput.model_validate({**fields, **changes})


def opa_arguments(folder: Path) -> list[str]:
    """How a server loads a bundle's folder without its tests."""
    return ["--ignore", "*_test.rego", str(folder)]


@contextmanager
def opa_server(binary: Path, *arguments: str) -> Iterator[str]:
    """An empty OPA server on loopback; yields its URL once it listens."""
    port = free_port()
    command = [
        str(binary),
        "run",
        "--server",
        "--addr",
        f"127.0.0.1:{port}",
        "--log-level",
        "error",
        *arguments,
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"HOME": "/nonexistent"}
    )
    try:
        _await_listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _await_listening(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
